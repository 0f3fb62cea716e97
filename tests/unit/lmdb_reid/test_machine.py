from __future__ import annotations

import os

import pytest

from lmdb_reid import machine


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("", 8),  # no container that limits anything
        ("max 100000", 8),
        ("400000 100000", 4),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("1600000 100000", 8),
    ],
)
def test_a_container_may_allow_fewer_cores(
    quota: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(machine, "cgroup", lambda _: quota)
    assert machine.available_cores() == cores


def test_systems_that_pin_nothing_have_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(machine, "cgroup", lambda _: "")
    assert machine.available_cores() == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (9_876_543_210, "9.88 GB"),
        (1234e9, "1,234.00 GB"),
    ],
)
def test_a_size_in_words(count: int, text: str) -> None:
    assert machine.size_in_words(count) == text
