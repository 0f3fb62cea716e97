from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lmdb_reid import Store, StoreWriter
from lmdb_reid.cli.main import main


def lines(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[str]:
    assert main(["query", *map(str, words)]) == 0
    return capsys.readouterr().out.splitlines()


def test_ids_and_rows_of_what_matches(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(store_path) as store:
        rows = store.query("label == 1").tolist()
        ids = [store.ids[row] for row in rows]
        everything = list(store.ids)
    assert lines(capsys, store_path, "label == 1") == ids
    assert lines(capsys, store_path, "label == 1", "--rows") == list(map(str, rows))
    assert lines(capsys, store_path, "label == 1", "--limit", "1") == ids[:1]
    assert lines(capsys, store_path) == everything


def test_columns_make_a_csv(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, store_path, "label == 1", "--columns", "label,quarter", "--limit", "2")
    assert shown == ["id,label,quarter", "f000#001,1,Q1", "f001#000,1,Q0"]
    shown = lines(capsys, store_path, "--rows", "--columns", "quarter", "--limit", "1")
    assert shown == ["row,quarter", "0,Q0"]


def test_json(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(
        capsys, store_path, "label == 1", "--columns", "quarter", "--limit", "2", "--json"
    )
    told = json.loads("\n".join(shown))
    assert told.pop("seconds") >= 0
    assert told == {
        "store": str(store_path),
        "query": "label == 1",
        "samples": 3,
        "rows": [1, 4],
        "ids": ["f000#001", "f001#000"],
        "columns": {"quarter": ["Q1", "Q0"]},
    }


def test_missing_values_are_empty_cells(
    tmp_path: Path, jpeg: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    picture = jpeg()
    with StoreWriter(tmp_path / "s.lmdb") as writer:
        writer.put("a", picture, {"label": 0, "height_m": 1.8, "team": "x,y"})
        writer.put("b", picture, {"label": 0})
        writer.seal()
    shown = lines(capsys, tmp_path / "s.lmdb", "--columns", "height_m,team")
    assert shown == ["id,height_m,team", 'a,1.8,"x,y"', "b,,"]


def test_nothing_that_matches_is_no_error(
    store_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", str(store_path), "label == 99"]) == 0
    assert capsys.readouterr() == ("", "no sample matches 'label == 99'\n")


@pytest.mark.parametrize(
    ("expression", "count", "said"),
    [
        ("quarter == 'Q3'", 0, "No sample has 'Q3' as quarter. Did you mean 'Q0'?"),
        ("quarter in ['Q1', 'qx'] or label == 0", 6, "No sample has 'qx' as quarter."),
        ("'Q9' != quarter", 8, "No sample has 'Q9' as quarter. Did you mean 'Q0'?"),
        ("not (quarter == 'nowhere')", 8, "No sample has 'nowhere' as quarter."),
        ("quarter == 'Q1' & quarter == 'a\x1bb'", 0, r"No sample has 'a\x1bb' as quarter."),
        ("quarter in ['a0', 'b0', 'c0', 'd0', 'a0']", 0, "And 1 more."),
    ],
)
def test_a_value_that_no_sample_has_is_noted_in_a_line(
    store_path: Path,
    capsys: pytest.CaptureFixture[str],
    expression: str,
    count: int,
    said: str,
) -> None:
    assert main(["query", str(store_path), expression]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == count
    assert shown.err.count("\n") == 1 and said in shown.err
    assert shown.err.startswith("no sample matches " if not count else "No sample has ")
    assert main(["-q", "query", str(store_path), expression, "--json"]) == 0
    shown = capsys.readouterr()
    assert (json.loads(shown.out)["samples"], shown.err) == (count, "")


@pytest.mark.parametrize(
    "expression",
    ["quarter == 'Q1'", "kind == 'person'", "quarter.str.startswith('Q')", "id == 'nothing'"],
)
def test_nothing_else_is_noted(
    store_path: Path, capsys: pytest.CaptureFixture[str], expression: str
) -> None:
    assert main(["query", str(store_path), expression]) == 0
    assert "No sample has" not in capsys.readouterr().err


def test_a_reader_that_takes_one_line(store_path: Path) -> None:
    line = f"{sys.executable} -m lmdb_reid query {store_path} | head -1"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("f000#000\n", "")
