"""The benchmark beside a GPU: its model, its words, a tiny run on a CPU. Nothing measures."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import devices
from benchmarks.resnet import resnet50


def test_the_model_is_resnet_50() -> None:
    model = resnet50(1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == 25_557_032
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 3, 64, 32)).shape == (2, 1000)


@pytest.mark.parametrize(
    ("speeds", "count"), [([10, 19, 35], None), ([10, 19, 20], 2), ([10, 10, 30], 1), ([10], None)]
)
def test_where_more_cores_stop_to_gain(speeds: list[float], count: int | None) -> None:
    assert devices.stops_at([1, 2, 4], speeds) == count


@pytest.mark.parametrize(
    "words", [["--steps", "0"], ["--device", "nonsense"], ["--device", "cpu", "--size", "none"]]
)
def test_wrong_use_ends_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        devices.arguments(words)
    assert stop.value.code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_how_to_see_it_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        devices.arguments([])
    assert stop.value.code == 2
    assert "--device cpu --small" in capsys.readouterr().err


@pytest.mark.slow  # each row of processes starts Python and torch
def test_a_tiny_run_on_a_cpu_lists_what_was_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--device", "cpu", "--small", "--steps", "1", "--num-workers", "1"]
    assert devices.main([*words, "--most-cores", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["way"] for row in result["waits"]] == ["threads", "decoded tier", "resident"]
    assert len(result["cores"]["rows"]) == 6
    assert result["decode"] is None
    assert [reason.partition(":")[0] for reason in result["not_run"]] == [
        "device decode",
        "device decode alone",
    ]
    text = devices.tables(result)
    assert "not run: device decode: decode='cuda' needs device='cuda'" in text
