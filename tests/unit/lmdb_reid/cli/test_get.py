"""`lmdb-reid get`."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lmdb_reid import Store, StoreWriter, _disk
from lmdb_reid.cli.main import main
from lmdb_reid.store import merge


def test_a_sample_of_a_part_has_the_label_of_the_whole(
    tmp_path: Path, jpeg: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, first in (("a", 0), ("b", 50)):
        with StoreWriter(tmp_path / f"{name}.lmdb") as writer:
            for number in range(3):
                writer.put(f"f{number}", jpeg(first + number), {"label": number})
            writer.seal()
    both = merge([tmp_path / "a.lmdb", tmp_path / "b.lmdb"], tmp_path / "ab.lmdb")
    label = Store(both)["b/f1"].label
    assert label != 1
    assert main(["get", str(both), "b/f1"]) == 0
    assert f"label        {label}" in capsys.readouterr().out
    assert main(["get", str(both), "b/f1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"]["label"] == label


def test_a_jpeg_gets_no_other_picture_s_name(
    tmp_path: Path, jpeg: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("f0", jpeg(0), {"label": 1})
        writer.seal()
    words = ["get", str(tmp_path / "a.lmdb"), "f0", "-o"]
    assert main([*words, str(tmp_path / "f.png")]) == 2
    assert "must end in .jpg" in capsys.readouterr().err
    assert not (tmp_path / "f.png").exists()
    assert main([*words, str(tmp_path / "f.jpg")]) == 0
    assert (tmp_path / "f.jpg").read_bytes() == jpeg(0)


def test_a_jpeg_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path,
    jpeg: Callable[..., bytes],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("f0", jpeg(0), {"label": 1})
        writer.seal()
    out = tmp_path / "f.jpg"
    out.write_bytes(b"an older one")

    def full(call: str, at: object) -> None:
        if call == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_disk, "watch", full)
    assert main(["get", str(tmp_path / "a.lmdb"), "f0", "-o", str(out)]) == 1
    assert f"{out} cannot be written: No space left" in capsys.readouterr().err
    assert out.read_bytes() == b"an older one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lmdb", "f.jpg"]
