"""Pictures that are files: what is wrong with one of them, and what is wrong with the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import AtmaCup, BuildSettings, Files, build, plan
from builders.game import Game, draw_game
from builders.media import frame_sizes
from builders.negatives import list_negatives, random_negatives
from lmdb_reid.errors import DuplicateSampleError, ImageError, SourceReadError
from lmdb_reid.store import Store

PASSING = [errno.EIO, errno.EMFILE, errno.ESTALE, errno.ENOMEM, errno.EAGAIN]
LASTING = [
    *(errno.ENOENT, errno.EISDIR, errno.EACCES),
    *(errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
]
SMALL = BuildSettings(size=(64, 32))


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Game:
    return draw_game(tmp_path_factory.mktemp("game"), quarters=1, frames=4, size=(180, 320))


@pytest.fixture
def source(game: Game) -> AtmaCup:
    return AtmaCup(game.train_meta, game.img_root)


def break_call(monkeypatch: Any, method: str, number: int, *, file: str = "") -> list[Path]:
    """Path.<method> of a file fails with an error once it is called; the list says for which."""
    failed: list[Path] = []
    whole = getattr(Path, method)

    def call(path: Path, *args: Any, **more: Any) -> Any:
        if path.suffix == ".jpg" and file in path.name:
            failed.append(path)
            raise OSError(number, os.strerror(number), str(path))
        return whole(path, *args, **more)

    monkeypatch.setattr(Path, method, call)
    return failed


@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
@pytest.mark.parametrize("method", ["read_bytes", "stat"])
def test_a_passing_error_ends_the_build_and_resume_goes_on(
    source: AtmaCup, tmp_path: Path, monkeypatch: Any, method: str, number: int
) -> None:
    # When frames are cut, and not when their stamps are taken before.
    job_stamps = "builders.job.Job.stamps"
    with monkeypatch.context() as broken:
        if method == "stat":
            broken.setattr(job_stamps, lambda _job: "stamps")
        failed = break_call(broken, method, number, file="top__00__03")
        with pytest.raises(SourceReadError) as caught:
            build(source, tmp_path / "o", SMALL, num_workers=1)
        assert failed
    assert "Q1-000__top__00__03.jpg cannot be read: " in str(caught.value)
    assert str(caught.value).endswith(
        f"stays in {tmp_path / 'o'}.partial: use --resume to continue"
    )
    assert not (tmp_path / "o").exists()
    if method == "read_bytes":
        report = build(source, tmp_path / "o", SMALL, resume=True)
        assert report.skipped == []
        build(source, tmp_path / "whole", SMALL)
        with Store(tmp_path / "o") as store, Store(tmp_path / "whole") as whole:
            assert store.digest == whole.digest


@pytest.mark.parametrize("number", LASTING, ids=errno.errorcode.get)
def test_what_is_wrong_with_one_file_skips_its_rows(
    source: AtmaCup, tmp_path: Path, monkeypatch: Any, number: int
) -> None:
    break_call(monkeypatch, "read_bytes", number, file="top__00__03")
    report = build(source, tmp_path / "o", SMALL, max_skipped=0.5)
    assert {row.frame for row in report.skipped} == {"Q1-000__top__00__03"}
    assert len(report.skipped) == 10
    name = "Q1-000__top__00__03.jpg"
    assert {row.reason for row in report.skipped} == {
        f"{name}: cannot be read: {os.strerror(number)}"
    }


@pytest.mark.parametrize("number", [errno.EIO, errno.ENFILE])
@pytest.mark.parametrize(
    "read",
    [
        plan,
        lambda source, out: list_negatives(source.read(), random_negatives(SMALL)),
    ],
    ids=["dry run", "negatives"],
)
def test_headers_too(
    source: AtmaCup,
    tmp_path: Path,
    monkeypatch: Any,
    number: int,
    read: Callable[[AtmaCup, Path], object],
) -> None:
    break_call(monkeypatch, "open", number, file="top__00__03")
    with pytest.raises(SourceReadError, match=r"top__00__03\.jpg cannot be read"):
        read(source, tmp_path / "o")


def test_a_stamp_that_cannot_be_taken_now_begins_nothing(
    source: AtmaCup, tmp_path: Path, monkeypatch: Any
) -> None:
    break_call(monkeypatch, "stat", errno.ESTALE)
    with pytest.raises(SourceReadError):
        build(source, tmp_path / "o", SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["nowhere.jpg", "a\0b.jpg", "x" * 300, "folder"])
def test_a_name_that_is_no_picture(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    files = Files(tmp_path, {"k": name})
    (picture,) = files.run(["k"])
    for look in (picture, lambda: files.size("k")):
        with pytest.raises(ImageError):
            look()
    (told,) = frame_sizes(files, ["k"], 1)
    assert str(told).startswith(f"{name}: ")
    assert files.stamp("k") == () or name == "folder"


def test_files_by_their_paths(tmp_path: Path) -> None:
    files = Files.below(tmp_path, ["b/2.jpg", "a/1.tar.png", "a/0"])
    assert dict(files.names) == {"a/0": "a/0", "a/1.tar": "a/1.tar.png", "b/2": "b/2.jpg"}
    assert files.path("b/2") == tmp_path / "b" / "2.jpg"
    with pytest.raises(DuplicateSampleError, match=r"a/1\.jpg and .*a/1\.png would .* ids: a/1"):
        Files.below(tmp_path, ["a/1.png", "b/1.jpg", "a/1.jpg"])
