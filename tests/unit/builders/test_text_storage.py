"""While a source is read, pandas keeps texts as it does without pyarrow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from builders import AtmaCup, ColumnRoles, Csv
from builders.negatives import load_negatives_from_csv
from builders.text_storage import PythonTexts
from lmdb_reid.errors import SourceError
from training.guide import load_train_meta

OPTION = "mode.string_storage"
META = "quarter,angle,session,frame,x,y,w,h,label_id"
ROW = "Q1,side,1,1,1,1,4,8"


def read_atmacup(file: Path) -> object:
    file.write_text(f"{META},note\n{ROW},3,a b\n")
    return AtmaCup(file, file.parent).read()


def read_csv(file: Path) -> object:
    file.write_text("file,who,note\na.jpg,Ann,a b\n")
    file.with_name("a.jpg").touch()
    return Csv(file.parent, file, ColumnRoles({"image": "file", "label": "who"})).read()


def read_negatives(file: Path) -> object:
    file.write_text(f"{META},img_path\n{ROW},-1,a.jpg\n")
    return load_negatives_from_csv(file)


def read_guide(file: Path) -> object:
    file.write_text(f"{META}\n{ROW},3\n")
    return load_train_meta(file, "images")


@pytest.mark.parametrize("read", [read_atmacup, read_csv, read_negatives, read_guide])
def test_every_csv_is_read_without_arrow(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    original = pd.read_csv

    def spied(*args: Any, **kwargs: Any) -> Any:
        seen.append(pd.get_option(OPTION))
        return original(*args, **kwargs)

    monkeypatch.setattr(pd, "read_csv", spied)
    before = pd.get_option(OPTION)
    read(tmp_path / "rows.csv")
    assert seen == ["python"]
    assert pd.get_option(OPTION) == before


def test_an_error_puts_the_option_back(tmp_path: Path) -> None:
    before = pd.get_option(OPTION)
    with pytest.raises(SourceError):
        AtmaCup(tmp_path, tmp_path).read()
    assert pd.get_option(OPTION) == before


def test_of_several_threads_the_last_puts_it_back() -> None:
    before = pd.get_option(OPTION)
    has_begun, may_end = threading.Event(), threading.Event()

    def longer() -> None:
        with PythonTexts():
            has_begun.set()
            may_end.wait(30)

    thread = threading.Thread(target=longer)
    with PythonTexts():
        thread.start()
        assert has_begun.wait(30)
    assert pd.get_option(OPTION) == "python"
    may_end.set()
    thread.join()
    assert pd.get_option(OPTION) == before
