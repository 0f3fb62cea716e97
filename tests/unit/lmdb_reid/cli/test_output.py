from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid._visible import visible
from lmdb_reid.cli.main import main
from lmdb_reid.cli.output import as_json, print_json, print_lines


def test_json_is_indented_by_two_and_keeps_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"store": Path("a/é.lmdb"), "size": (256, 128), "ids": ["选手"]})
    assert capsys.readouterr().out == (
        '{\n  "store": "a/é.lmdb",\n  "size": [\n    256,\n    128\n  ],\n'
        '  "ids": [\n    "选手"\n  ]\n}\n'
    )


def test_what_is_no_number_is_null() -> None:
    facts = {"a": float("nan"), "b": [np.float32("inf"), np.int64(3)], "c": np.array([1.5, np.nan])}
    assert json.loads(as_json(facts)) == {"a": None, "b": [None, 3], "c": [1.5, None]}


def test_other_values_are_their_repr() -> None:
    assert json.loads(as_json({"a": b"\xff", "b": {1: True}})) == {
        "a": "b'\\xff'",
        "b": {"1": True},
    }


CONTROLS = "\x1b]0;title\x07\x9b31m\u202egpj\u2066"


def test_no_control_character_is_printed_raw() -> None:
    text = as_json({"id": CONTROLS})
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == {"id": CONTROLS}
    assert visible(CONTROLS) == r"\x1b]0;title\x07\x9b31m\u202egpj\u2066"
    assert visible("Ö选手 a b") == "Ö选手 a b"


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal 40 columns wide, without colour."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_a_long_line_continues_below_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow(monkeypatch)
    print_lines(["  columns     label, kind, crc32, image_size, width", "short", "", "x" * 60])
    assert capsys.readouterr().out.splitlines() == [
        "  columns     label, kind, crc32,",
        "              image_size, width",
        "short",
        "",
        "x" * 60,  # so that a digest can be copied
    ]


def test_every_command_fits_a_narrow_terminal(
    store_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    narrow(monkeypatch)
    for words in (
        ["info", str(store_path)],
        ["get", str(store_path), "f000#001"],
        ["sheet", str(store_path), "-o", str(tmp_path / "a.jpg")],
    ):
        assert main(words) == 0
        for line in capsys.readouterr().out.splitlines():
            is_whole = max(map(len, line.split()), default=0) > 22  # a path or digest, to copy
            assert len(line) <= 40 or is_whole or line.startswith("  lmdb-reid"), line


def test_in_a_pipe_each_line_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_lines(["a " * 50])
    assert capsys.readouterr().out == "a " * 50 + "\n"


@pytest.mark.parametrize(
    "words", [["info"], ["query"], ["get", "f000#001", "-o", "-"], ["sheet", "--json"]], ids=str
)
def test_a_reader_that_is_gone_ends_a_command_quietly(
    words: list[str], store_path: Path, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lmdb_reid", words[0], str(store_path), *words[1:]],
            stdout=writing,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])},
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
