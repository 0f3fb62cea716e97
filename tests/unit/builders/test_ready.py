"""The store that is built once: what is there and good is never built over."""

from __future__ import annotations

import json
import os
from pathlib import Path

import lmdb
import numpy as np
import pytest

from builders import AtmaCup, BuildSettings
from builders.ready import ready_store
from lmdb_reid import codec
from lmdb_reid.errors import ResourceError, StoreVersionError

SETTINGS = BuildSettings(size=(32, 16))


@pytest.fixture
def ready(tmp_path: Path) -> tuple[AtmaCup, Path]:
    csv = tmp_path / "train_meta.csv"
    csv.write_text("quarter,angle,session,frame,x,y,w,h,label_id\nQ1,side,0,1,8,8,20,40,3\n")
    (tmp_path / "images").mkdir()
    frame = codec.encode(np.full((90, 120, 3), 90, np.uint8))
    (tmp_path / "images" / "Q1__side__00__01.jpg").write_bytes(frame)
    source = AtmaCup(csv, tmp_path / "images")
    return source, ready_store(source, SETTINGS, tmp_path)


@pytest.mark.parametrize("why", ["Cannot allocate memory", "No such device"])
def test_a_store_that_cannot_be_opened_now_is_left_alone(
    why: str, ready: tuple[AtmaCup, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, path = ready
    inode = (path / "data.mdb").stat().st_ino

    def opening(*_: object, **__: object) -> None:
        raise lmdb.Error(f"{path}: {why}")

    monkeypatch.setattr(lmdb, "open", opening)
    with pytest.raises(ResourceError, match=why):
        ready_store(source, SETTINGS, path.parent)
    monkeypatch.undo()
    assert ready_store(source, SETTINGS, path.parent) == path
    assert (path / "data.mdb").stat().st_ino == inode


def test_a_store_of_a_newer_format_is_left_alone(ready: tuple[AtmaCup, Path]) -> None:
    source, path = ready
    manifest = path / "manifest.json"
    newer = json.dumps(json.loads(manifest.read_text()) | {"version": [2, 0]})
    manifest.write_text(newer)
    with pytest.raises(StoreVersionError, match="another release"):
        ready_store(source, SETTINGS, path.parent)
    assert manifest.read_text() == newer


def test_a_damaged_store_is_built_again(ready: tuple[AtmaCup, Path]) -> None:
    source, path = ready
    good = (path / "data.mdb").stat().st_size
    os.truncate(path / "data.mdb", good // 2)
    assert ready_store(source, SETTINGS, path.parent) == path
    assert (path / "data.mdb").stat().st_size == good
