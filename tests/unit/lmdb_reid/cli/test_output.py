from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid._visible import visible
from lmdb_reid.cli.output import as_json, print_json


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
