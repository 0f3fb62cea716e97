"""Sources whose frames are in videos: csv, MOT and the atmaCup layout."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import (
    MOT,
    AtmaCup,
    BuildSettings,
    ColumnRoles,
    Csv,
    Source,
    Videos,
    build,
    estimate,
    plan,
)
from builders.testing import SourceContract
from lmdb_reid import Store, codec
from lmdb_reid.cli.main import main
from lmdb_reid.errors import SourceError, TooManySkippedError, UsageError
from lmdb_reid.schema import Kind, Roles
from lmdb_reid.store import _growing

pytest.importorskip("av", reason="PyAV is not installed")

COUNT = 30
BOXES = "image=video,frame=number,x=left,y=top,w=width,h=height,label=player"
NONE = BuildSettings(size=None, num_bg_per_frame=0, num_partial_per_box=0, expand=1.0)


@pytest.fixture
def drawn(monkeypatch: Any) -> Iterator[Any]:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    yield importlib.import_module("videos")
    del sys.modules["videos"]


@pytest.fixture
def csv(tmp_path: Path, drawn: Any) -> Callable[..., Csv]:
    """A source over `videos/a.mp4` and `videos/sub/b.mkv`, and a csv of these lines."""
    drawn.draw_video(tmp_path / "videos" / "a.mp4", COUNT)
    drawn.draw_video(tmp_path / "videos" / "sub" / "b.mkv", COUNT)

    def of(
        *lines: str,
        columns: str = BOXES,
        header: str = "video,number,left,top,width,height,player",
        root: str = "videos",
        first_frame: int | None = 1,
    ) -> Csv:
        table = tmp_path / "boxes.csv"
        table.write_text("\n".join([header, *lines]) + "\n")
        return Csv(tmp_path / root, table, ColumnRoles.parse(columns), first_frame=first_frame)

    return of


def shades(path: Path) -> dict[str, int]:
    """The mean of each sample's picture."""
    with Store(path) as store:
        return {name: round(float(store[name].image.mean())) for name in store}


def noted(monkeypatch: Any) -> list[str]:
    """The keys that runs of videos are asked for from now on."""
    asked: list[str] = []
    run = Videos.run

    def running(self: Videos, keys: Any) -> Any:
        keys = [*keys]
        asked.extend(keys)
        return run(self, keys)

    monkeypatch.setattr(Videos, "run", running)
    return asked


class TestCsv(SourceContract):
    @pytest.fixture
    def source(self, csv: Callable[..., Csv]) -> Source:
        return csv(
            "sub/b.mkv,7,1,2,10,20,7",
            "a.mp4,30,1,2,10,20,8",
            "a.mp4,2,1,2,10,20,8",
            "a.mp4,2,20,2,10,20,",
            "a.mp4,two,20,2,10,20,9",
            "c.mp4,1,20,2,10,20,9",
        )


class TestAtmaCup(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path, drawn: Any) -> Source:
        return atmacup(tmp_path, drawn, "Q1,side,0,7,1,2,10,20,3", "Q1,top,0,7,1,2,10,20,3")


class TestMOT(SourceContract):
    @pytest.fixture
    def source(self, tmp_path: Path, drawn: Any) -> Source:
        return mot(tmp_path, drawn, "A", "B")


def atmacup(tmp_path: Path, drawn: Any, *lines: str, one: bool = False, first: Any = 1) -> AtmaCup:
    table = tmp_path / "train_meta.csv"
    table.write_text("\n".join(["quarter,angle,session,frame,x,y,w,h,label_id", *lines]) + "\n")
    for name in ("Q1__side__00", "Q1__top__00"):
        drawn.draw_video(tmp_path / "videos" / f"{name}.mp4", COUNT)
    root = tmp_path / "videos" / "Q1__side__00.mp4" if one else tmp_path / "videos"
    return AtmaCup(table, root, first_frame=first)


def mot(tmp_path: Path, drawn: Any, *names: str, first: Any = 1, one: bool = False) -> MOT:
    for name in names:
        gt = tmp_path / "mot" / name / "gt" / "gt.txt"
        gt.parent.mkdir(parents=True, exist_ok=True)
        gt.write_text(f"7,1,1,2,10,20\n8,1,1,2,10,20\n8,2,30,2,10,20\n9,77,1,2,1,{name}\n")
        drawn.draw_video(tmp_path / "videos" / f"{name}.mp4", COUNT)
    root = tmp_path / "videos" / (f"{names[0]}.mp4" if one else "")
    return MOT(tmp_path / "mot", img_root=root, first_frame=first)


@pytest.mark.parametrize("first", [0, 1])
def test_a_csv_of_videos(csv: Callable[..., Csv], tmp_path: Path, drawn: Any, first: int) -> None:
    lines = [f"sub/b.mkv,{7 + first},1,2,10,20,7", f"a.mp4,{29 + first},1,2,10,20,8"]
    source = csv(*lines, f"a.mp4,{2 + first},1,2,10,20,8", first_frame=first)
    report = build(source, tmp_path / "a.lmdb", NONE)
    assert not report.skipped
    found = shades(tmp_path / "a.lmdb")
    assert list(found) == [
        f"a/{2 + first:08d}#000",
        f"a/{29 + first:08d}#000",
        f"sub/b/{7 + first:08d}#000",
    ]
    for shade, number in zip(found.values(), (2, 29, 7), strict=True):
        assert abs(shade - drawn.grey_of(number)) <= 3
    with Store(tmp_path / "a.lmdb") as store:
        assert store.roles == Roles(time=("number",))
        assert store.columns["number"].tolist() == [2 + first, 29 + first, 7 + first]
        assert store.manifest.build["first_frame"] == first


def test_one_video_needs_no_column_of_videos(
    csv: Callable[..., Csv], tmp_path: Path, drawn: Any
) -> None:
    columns = "frame=number,x=left,y=top,w=width,h=height,label=player"
    source = csv(
        "5,1,2,10,20,7",
        columns=columns,
        header="number,left,top,width,height,player",
        root="videos/a.mp4",
    )
    build(source, tmp_path / "a.lmdb", NONE)
    assert list(shades(tmp_path / "a.lmdb")) == ["a/00000005#000"]
    with pytest.raises(UsageError, match=r"image=NAME, or --root one video, got .*videos"):
        csv("5,1,2,10,20,7", columns=columns, header="number,left,top,width,height,player").read()


def test_how_frames_are_counted_is_never_guessed(csv: Callable[..., Csv]) -> None:
    with pytest.raises(UsageError, match="videos need --first-frame 0 or --first-frame 1"):
        csv("a.mp4,5,1,2,10,20,7", first_frame=None).read()
    mixed = "a.mp4,5,1,2,10,20,7", "a.mp4,0,1,2,10,20,7"
    with pytest.raises(
        SourceError, match=r"counted from 1 .*boxes\.csv, column number, names frame 0"
    ):
        csv(*mixed).read()
    assert len(csv(*mixed, first_frame=0).read().frames) == 2


def test_images_are_no_videos_and_videos_no_images(csv: Callable[..., Csv], tmp_path: Path) -> None:
    without = "image=video,x=left,y=top,w=width,h=height,label=player"
    with pytest.raises(SourceError, match=r"a\.mp4 is a video: --columns must name .* frame=NAME"):
        csv("a.mp4,5,1,2,10,20,7", columns=without).read()
    (tmp_path / "videos" / "c.jpg").write_bytes(codec.encode(np.zeros((9, 9, 3), np.uint8)))
    with pytest.raises(SourceError, match=r"c\.jpg is not a video. Use time=number"):
        csv("c.jpg,5,1,2,10,20,7").read()


def test_frames_behind_the_end_are_skipped_with_a_reason(
    csv: Callable[..., Csv], tmp_path: Path
) -> None:
    lines = [f"a.mp4,{at},1,2,10,20,7" for at in range(1, 31)]
    source = csv(*lines, "a.mp4,31,1,2,10,20,7")
    planned = plan(source, tmp_path / "a.lmdb", NONE)
    built = build(source, tmp_path / "a.lmdb", NONE)
    for report in (planned, built):
        (skipped,) = report.skipped
        assert skipped.where == "boxes.csv line 32"
        assert skipped.reason == (
            "a.mp4 frame 31: the video has no such frame: its frames are 1 to 30"
        )
    assert planned.samples == built.samples == 30
    from_0 = csv(*lines[:-1], "a.mp4,30,1,2,10,20,7", first_frame=0)
    (skipped,) = plan(from_0, tmp_path / "b.lmdb", NONE).skipped
    assert skipped.reason.endswith("0 to 29. Use --first-frame 1 if they are counted from 1")


def test_a_dry_run_decodes_no_more_than_its_sample(
    csv: Callable[..., Csv], tmp_path: Path, monkeypatch: Any
) -> None:
    asked = noted(monkeypatch)
    monkeypatch.setattr(estimate, "_MOST_FRAMES", 3)
    source = csv(*[f"a.mp4,{at},1,2,10,20,{at}" for at in range(1, 31)])
    assert plan(source, tmp_path / "a.lmdb", NONE).samples == 30
    assert asked == ["a/00000001", "a/00000002", "a/00000003"]


def test_what_is_no_video_ends_the_build_with_its_reason(
    csv: Callable[..., Csv], tmp_path: Path
) -> None:
    (tmp_path / "videos" / "c.mp4").write_text("nothing")
    with pytest.raises(TooManySkippedError, match=r"c\.mp4 frame 1: it cannot be read as a video"):
        build(csv("c.mp4,1,1,2,10,20,7"), tmp_path / "a.lmdb", NONE)


def test_a_resumed_build_gives_the_same_store(
    csv: Callable[..., Csv], tmp_path: Path, monkeypatch: Any
) -> None:
    source = csv(*[f"a.mp4,{at},1,2,10,20,{at}" for at in range(1, 31)])
    whole = build(source, tmp_path / "whole.lmdb", NONE)
    assert whole.samples == 30

    class Stopped(Exception):
        pass

    def stop(done: int, *_: int) -> None:
        if done == 17:
            raise Stopped

    monkeypatch.setattr(_growing, "COMMIT_SECONDS", 0.0)
    with pytest.raises(Stopped):
        build(source, tmp_path / "a.lmdb", NONE, progress=stop)
    asked = noted(monkeypatch)
    build(source, tmp_path / "a.lmdb", NONE, resume=True)
    assert 0 < len(asked) < 30
    with Store(tmp_path / "whole.lmdb") as one, Store(tmp_path / "a.lmdb") as other:
        assert one.digest == other.digest


def test_sequences_with_videos(tmp_path: Path, drawn: Any) -> None:
    source = mot(tmp_path, drawn, "A", "B")
    report = build(source, tmp_path / "a.lmdb", NONE, max_skipped=0.3)
    assert {one.reason.partition(",")[0] for one in report.skipped} == {"it must be frame"}
    found = shades(tmp_path / "a.lmdb")
    assert list(found)[:3] == ["A/00000007#000", "A/00000008#000", "A/00000008#001"]
    assert abs(found["B/00000007#000"] - drawn.grey_of(6)) <= 3
    with pytest.raises(UsageError, match="videos need --first-frame"):
        mot(tmp_path, drawn, "A", first=None).read()
    with pytest.raises(SourceError, match="one video must be of one sequence, got 2"):
        mot(tmp_path, drawn, "A", "B", one=True).read()
    (tmp_path / "videos" / "B.mp4").unlink()
    absent = [one.reason for one in source.read().skipped if "video" in one.reason]
    assert len(absent) == 3


def test_the_atmacup_layout_with_videos(tmp_path: Path, drawn: Any) -> None:
    lines = "Q1,side,0,7,1,2,10,20,3", "Q1,top,0,8,1,2,10,20,3", "Q2,top,0,8,1,2,10,20,3"
    source = atmacup(tmp_path, drawn, *lines)
    (skipped,) = source.read().skipped
    assert skipped.reason == f"its video Q2__top__00 is not in {tmp_path / 'videos'}"
    build(source, tmp_path / "a.lmdb", NONE, max_skipped=0.5)
    found = shades(tmp_path / "a.lmdb")
    assert list(found) == ["Q1__side__00/00000007#000", "Q1__top__00/00000008#000"]
    assert abs(found["Q1__side__00/00000007#000"] - drawn.grey_of(6)) <= 3
    with pytest.raises(SourceError, match="one video must be of one quarter, angle and session"):
        atmacup(tmp_path, drawn, *lines, one=True).read()
    with pytest.raises(UsageError, match="videos need --first-frame"):
        atmacup(tmp_path, drawn, *lines, first=None).read()
    assert len(atmacup(tmp_path, drawn, lines[0], one=True).read().frames) == 1


def test_the_command_builds_from_a_video_and_lists_its_negatives(
    tmp_path: Path, drawn: Any, capsys: Any
) -> None:
    size = (240, 320)
    drawn.draw_video(tmp_path / "videos" / "A.mp4", COUNT, size=size)
    gt = tmp_path / "A" / "gt" / "gt.txt"
    gt.parent.mkdir(parents=True)
    gt.write_text("".join(f"{at},1,40,30,40,90\n" for at in range(1, 31, 5)))
    words = ["--format", "mot", "--root", str(gt.parents[1]), "--first_frame", "1"]
    words += ["--img-root", str(tmp_path / "videos" / "A.mp4")]
    out, table = str(tmp_path / "a.lmdb"), str(tmp_path / "negatives.csv")
    assert main(["build", *words, "--out", out]) == 0
    assert main(["negatives", *words, "--output", table]) == 0
    lines = Path(table).read_text().splitlines()
    assert lines[0] == "x,y,w,h,label_id,img_path,kind,id"
    assert any("-1,A.mp4 frame 1,background,A/00000001#bg000" in line for line in lines)
    again = str(tmp_path / "again.lmdb")
    assert main(["build", *words, "--negatives", table, "--out", again]) == 0
    with Store(out) as one, Store(again) as other:
        assert one.digest == other.digest
        assert one.kinds[Kind.BACKGROUND.title] == 6
    capsys.readouterr()
