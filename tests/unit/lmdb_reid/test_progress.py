from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from lmdb_reid import progress
from lmdb_reid.progress import Meter, say, shown, silenced


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def last(self) -> str:
        return self.getvalue().rpartition("\r\x1b[K")[2]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, which tests move on."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def terminal() -> Iterator[Callable[[], Terminal]]:
    """Puts a terminal in the place of stderr; called in a test, for pytest puts its own before."""
    with pytest.MonkeyPatch.context() as patch:

        def put() -> Terminal:
            found = Terminal()
            patch.setattr(sys, "stderr", found)
            return found

        yield put


def half_done(clock: list[float], note: str = "") -> None:
    """187 of 375 frames and 2,310 crops, 96 a second."""
    meter = Meter("cutting", "frames", things="crops")
    meter(1, 375, 12)
    clock[0] += 2
    meter(193, 375, 2310, note=(lambda: note) if note else None)


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            100,
            "cutting: [##########..........] 193 of 375 frames, 2,310 crops, 96 frames/s, 2 s left",
        ),
        (80, "cutting: [#######.......] 193 of 375 frames, 2,310 crops, 96 frames/s, 2 s left"),
        (70, "cutting: 193 of 375 frames, 2,310 crops, 96 frames/s, 2 s left"),
        (60, "cutting: 193 of 375 frames, 96 frames/s, 2 s left"),
        (45, "cutting: 193 of 375 frames, 2 s left"),
        (40, "cutting: 193 of 375 frames, 2 s left"),
        (30, "cutting: 51%, 2 s left"),
        (12, "cutting: 51"),
    ],
)
def test_a_line_is_as_wide_as_the_terminal_at_most(
    columns: int,
    line: str,
    terminal: Callable[[], Terminal],
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "_columns", lambda: columns)
    drawn = terminal()
    half_done(clock)
    assert drawn.last() == line
    assert len(line) < columns


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "cutting: 193 of 375 frames, 2,310 crops, loss 0.51, 96 frames/s, 2 s left"),
        (40, "cutting: 51%, loss 0.51, 2 s left"),
    ],
)
def test_what_else_is_known_stays_where_it_is_narrow(
    columns: int,
    line: str,
    terminal: Callable[[], Terminal],
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "_columns", lambda: columns)
    drawn = terminal()
    half_done(clock, note="loss 0.51")
    assert drawn.last() == line


def test_a_terminal_without_a_size_has_80_columns(
    terminal: Callable[[], Terminal], clock: list[float]
) -> None:
    drawn = terminal()
    half_done(clock)
    assert 60 < len(drawn.last()) < 80


def test_a_pipe_gets_a_plain_line_every_five_seconds(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with shown("reading", "MB", scale=1e6) as meter:
        for second in range(12):
            clock[0] += 1
            meter((second + 1) * 10_000_000, 120_000_000, 0)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "reading: 50 of 120 MB, 10 MB/s, 7 s left",
        "reading: 100 of 120 MB, 10 MB/s, 2 s left",
    ]


def test_the_rate_of_resumed_work_counts_what_is_done_now(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    meter = Meter("cutting", "frames")
    meter(901, 1000, 0)
    clock[0] += 10
    meter(951, 1000, 0)
    assert capsys.readouterr().err == "cutting: 951 of 1,000 frames, 5 frames/s, 10 s left\n"


def test_the_line_is_gone_when_the_work_is_done(
    terminal: Callable[[], Terminal], clock: list[float]
) -> None:
    drawn = terminal()
    with shown("cutting", "frames") as meter:
        clock[0] += 1
        meter(1, 2, 0)
        assert re.search("cutting: .*1 of 2 frames", drawn.getvalue())
    assert drawn.getvalue().endswith("\r\x1b[K")


def test_silence(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with silenced():
        with shown("cutting", "frames") as meter:
            clock[0] += 60
            meter(1, 2, 0, note=lambda: pytest.fail("it was asked for"))
        say("something")
    assert capsys.readouterr().err == ""
    with silenced(False):
        say("something")
    assert capsys.readouterr().err == "something\n"
