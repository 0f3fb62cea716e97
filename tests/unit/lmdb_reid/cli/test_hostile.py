"""A store from elsewhere, whose texts hold what a terminal would obey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmdb_reid import StoreWriter
from lmdb_reid.cli.main import main

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj.<b>"


@pytest.fixture
def store(tmp_path: Path, jpeg: Any) -> Path:
    with StoreWriter(tmp_path / "evil.lmdb", source={"note": EVIL}) as writer:
        writer.put("a#000", jpeg(), {"label": 0, "team": EVIL})
        return writer.seal()


@pytest.mark.parametrize(
    "words",
    [
        ["info", "STORE"],
        ["info", "STORE", "--json"],
        ["get", "STORE", "a#000"],
        ["get", "STORE", "a#000", "--json"],
        ["get", "STORE", EVIL],
        ["query", "STORE", "--columns", "team"],
        ["query", "STORE", "--columns", "team", "--json"],
        ["query", "STORE", f"team == '{EVIL}x'"],
        ["query", "STORE", EVIL],
        ["query", "STORE", "--columns", EVIL],
        ["verify", "STORE", "--deep"],
        ["info", f"/nowhere/{EVIL}"],
        ["info", f"--{EVIL}"],
        [EVIL],
    ],
)
def test_nothing_of_it_reaches_a_terminal_raw(
    words: list[str], store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(store) if word == "STORE" else word for word in words])
    shown = capsys.readouterr()
    for line in (shown.out + shown.err).split("\n"):
        assert line.isprintable(), line
    assert shown.out or shown.err
