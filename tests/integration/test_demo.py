"""`lmdb-reid demo`, called as a user calls it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid import Kind, Store, codec
from lmdb_reid.cli.main import main
from lmdb_reid.pictures import CELL

CALL = [sys.executable, "-W", "error", "-m", "lmdb_reid.cli"]
SMALL = ["--quarters", "1", "--frames", "2"]  # 4 frames, 40 boxes
MARK = ".made-by-lmdb-reid-demo"


@dataclass(frozen=True)
class Demo:
    """A finished demo: the folder it was called in, and what it printed."""

    cwd: Path
    out: str
    err: str

    @property
    def commands(self) -> list[str]:
        """What it says to try next."""
        after = self.out.partition("to try next:")[2]
        return [line.strip() for line in after.splitlines() if line.startswith("  ")]


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CALL, *words], cwd=cwd, capture_output=True, text=True, check=False)


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: when it was changed, and what it holds."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demo in a folder of its own making, below one whose name needs quotes."""
    cwd = tmp_path_factory.mktemp("a player's")
    done = call("demo", *SMALL, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(cwd, done.stdout, done.stderr)


def test_it_prints_no_warning_and_leaves_what_it_names(demo: Demo) -> None:
    assert demo.err == ""
    folder = demo.cwd / "lmdb_reid_demo"
    assert {path.name for path in demo.cwd.iterdir()} == {folder.name}
    assert {path.name for path in folder.iterdir()} == {MARK, "game", "demo.lmdb", "sheet.jpg"}


def test_each_step_is_printed_with_its_time(demo: Demo) -> None:
    steps = re.findall(r"^ *(\d+\.\d) s  (\w+)", demo.out, flags=re.MULTILINE)
    assert [word for _, word in steps] == [
        "drawing",
        "building",
        "looking",
        "reading",
        "drawing",
        "done",
    ]
    times = [float(time) for time, _ in steps]
    assert times == sorted(times)


def test_it_tells_what_the_store_holds(demo: Demo) -> None:
    with Store(demo.cwd / "lmdb_reid_demo" / "demo.lmdb") as store:
        assert store.kinds["person"] == 40
        assert store.size == (256, 128)
        assert store.digest in demo.out
        assert "images      256x128 (height x width)" in demo.out
        assert f"identities  {store.manifest.identities}" in demo.out
        assert f"samples     {len(store)} (40 person" in demo.out  # the report
        assert f"samples     {len(store)}: 40 person" in demo.out  # info


def test_one_line_compares(demo: Demo) -> None:
    number = r"([\d,]+)"
    pattern = (
        rf"^ *ours {number} crops/s, PIL files {number} \(([\d.]+) times\),"
        rf" run-time cropping {number} \(([\d.]+) times\)$"
    )
    (found,) = re.findall(pattern, demo.out, flags=re.MULTILINE)
    ours, files, by_files, cropped, by_cropped = (float(text.replace(",", "")) for text in found)
    assert min(ours, files, cropped) > 0
    assert by_files == pytest.approx(ours / files, abs=0.06, rel=0.05)
    assert by_cropped == pytest.approx(ours / cropped, abs=0.06, rel=0.05)


def test_run_time_cropping_gives_the_pictures_of_the_store(demo: Demo) -> None:
    (levels,) = re.findall(r"are ([\d.]+) of 255 levels apart", demo.out)
    assert 0 < float(levels) < 4  # JPEG's loss and another resizer; other crops would be 40 apart


def test_lines_fit_a_terminal(demo: Demo) -> None:
    paths = str(demo.cwd), sys.executable  # these are as long as they are
    long = [line for line in demo.out.splitlines() if len(line) > 100]
    assert [line for line in long if not any(path in line for path in paths)] == []


def test_the_sheet_has_a_column_for_each_player(demo: Demo) -> None:
    assert demo.out.rstrip().endswith("lmdb_reid_demo/sheet.jpg")
    sheet = codec.decode((demo.cwd / "lmdb_reid_demo" / "sheet.jpg").read_bytes())
    gap, caption, head = 6, 2 * 16 + 2, 50  # the head has a title and what the colours mean
    rows = 4 + 1 + 1  # frames of each player, partials, backgrounds
    height, width = CELL[0] + caption + gap, CELL[1] + gap
    assert sheet.shape == (head + rows * height, 10 * width + gap, 3)
    corners = range(gap, 10 * width, width)
    shirts = np.array([sheet[105:140, x + 37 : x + 61].mean(axis=(0, 1)) for x in corners])
    wears_red = shirts[:, 0] > shirts[:, 2]
    assert wears_red.tolist() == [True] * 5 + [False] * 5


def test_what_it_says_to_try_works(demo: Demo) -> None:
    folder = demo.cwd / "lmdb_reid_demo"
    get, sheet, verify = demo.commands
    told = {}
    for command in (get, sheet, verify):
        done = subprocess.run(
            shlex.split(command), cwd=demo.cwd, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        told[command] = done.stdout
    with Store(folder / "demo.lmdb") as store:
        sample = store[shlex.split(get)[-3]]
        assert (folder / "player.jpg").read_bytes() == sample.jpeg
        assert sample.kind == Kind.PERSON
        of_label = store.query(f"label == {sample.label}")
        assert told[sheet].startswith(f"{len(of_label)} samples on ")
        assert codec.decode((folder / f"label{sample.label}.jpg").read_bytes()).size
        assert f"{len(store)} samples are as they were sealed" in told[verify]


def test_without_out_each_demo_has_a_new_folder(
    demo: Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(demo.cwd / "lmdb_reid_demo")
    in_the_way = demo.cwd / "lmdb_reid_demo_2"
    in_the_way.write_text("a file")
    monkeypatch.chdir(demo.cwd)
    assert main(["demo", *SMALL]) == 0
    assert "lmdb_reid_demo_3/sheet.jpg" in capsys.readouterr().out
    with Store(demo.cwd / "lmdb_reid_demo_3" / "demo.lmdb") as store:
        assert store.kinds["person"] == 40
    assert content(demo.cwd / "lmdb_reid_demo") == before
    assert in_the_way.read_text() == "a file"


def test_a_second_demo_in_one_folder_is_refused(demo: Demo) -> None:
    before = content(demo.cwd / "lmdb_reid_demo")
    done = call("demo", *SMALL, "--out", "lmdb_reid_demo", cwd=demo.cwd)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "lmdb-reid demo: error: an earlier demo is in lmdb_reid_demo. Use --overwrite to replace"
        " it, or choose another --out.\n"
    )
    assert content(demo.cwd / "lmdb_reid_demo") == before


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_folder_of_other_things_is_left_alone(
    tmp_path: Path, overwrite: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "game").mkdir()
    (tmp_path / "game" / "train_meta.csv").write_text("somebody's")
    before = content(tmp_path)
    assert main(["demo", *SMALL, "--out", str(tmp_path), *overwrite]) == 1
    assert capsys.readouterr().err == (
        f"lmdb-reid demo: error: lmdb-reid demo did not create what is in {tmp_path}, so it is not"
        " overwritten. Choose another --out.\n"
    )
    assert content(tmp_path) == before


def test_overwrite_replaces_what_was_interrupted_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()  # an empty one may be given without --overwrite
    child = subprocess.Popen(
        [*CALL, "demo", "--out", "out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline().startswith("  0.0 s  drawing")
    while not any(folder.glob("game/images/*.jpg")):
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)  # as Ctrl-C does: to every process of the terminal
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err == "lmdb-reid demo: interrupted\n"
    assert {path.name for path in folder.iterdir()} == {MARK, "game"}

    notes = folder / "notes.txt"
    notes.write_text("mine")
    done = call("demo", *SMALL, "--out", "out", "--overwrite", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert notes.read_text() == "mine"
    with Store(folder / "demo.lmdb") as store:
        assert store.kinds["person"] == 40


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--overwrite"], "--overwrite needs --out DIR"),
        (["--quarters", "0"], "--quarters must be at least 1, got '0'"),
        (["--frames", "-2"], "--frames must be at least 1, got '-2'"),
        (["--frames", "many"], "--frames must be at least 1, got 'many'"),
    ],
)
def test_wrong_use(
    words: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *words]) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file" / "demo")]) == 1
    assert capsys.readouterr().err == (
        f"lmdb-reid demo: error: {tmp_path}/file/demo cannot be written: Not a directory\n"
    )


@pytest.mark.parametrize("on_path", [True, False])
def test_commands_name_the_program_as_it_was_called(
    on_path: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = tmp_path / "my tools" / "lmdb-reid"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(program.parent if on_path else tmp_path))
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    assert main(["demo", "--quarters", "1", "--frames", "1", "--out", str(tmp_path / "out")]) == 0
    commands = Demo(tmp_path, capsys.readouterr().out, "").commands
    expected = "lmdb-reid" if on_path else str(program)
    assert [shlex.split(command)[0] for command in commands] == [expected] * 3
