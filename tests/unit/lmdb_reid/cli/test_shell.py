"""What all commands share: help, colour, silence, completion, starting and ending."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmdb_reid.cli import _colour
from lmdb_reid.cli._parser import Parser
from lmdb_reid.cli.main import SUMMARIES, commands, configured, main
from lmdb_reid.errors import UsageError

CALL = [sys.executable, "-m", "lmdb_reid"]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    yield
    _colour.choose(_colour.AUTO)


OURS = [name for name in SUMMARIES if name in commands()]


@pytest.mark.parametrize("name", OURS)
def test_help_has_an_example_and_every_option_a_phrase(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", name]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"^examples?:\n  lmdb-reid {name}\b", shown, re.MULTILINE)
    parser = configured(Parser(name, None), commands()[name].load())
    for action in parser._actions:
        text = (action.help or "").lower()
        assert len(text) > 4, action
        assert not text.startswith(("of ", "that ", "to ", "what ", "how ", "(")), text
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_summary_is_an_imperative_phrase(name: str) -> None:
    first = SUMMARIES[name].split()[0].rstrip(":")
    assert first.islower()
    assert first not in {"a", "the", "what", "how", "one", "many", "several", "features"}


def test_help_alone_is_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    shown = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == shown
    assert "commands:" in shown


def test_the_list_fits_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("commands:\n")[2].partition("\n\n")[0]
    assert max(map(len, listed.splitlines())) <= 40


# -- colour ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "environment", "is_terminal", "coloured"),
    [
        ([], {}, True, True),
        ([], {}, False, False),
        ([], {"NO_COLOR": "1"}, True, False),
        ([], {"NO_COLOR": ""}, True, True),
        ([], {"TERM": "dumb"}, True, False),
        (["--color", "always"], {"NO_COLOR": "1"}, False, True),
        (["--color=never"], {}, True, False),
    ],
)
def test_colour_is_for_terminals(
    words: list[str],
    environment: dict[str, str],
    is_terminal: bool,
    coloured: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    for line in ([*words, "inof"], ["info", "--jsn", *words]):
        assert main(line) == 2
        err = capsys.readouterr().err
        assert ("\x1b[1;31merror\x1b[0m" in err) == coloured
        assert ("\x1b[1;32mtip\x1b[0m" in err) == coloured
        assert ("\x1b" in err) == coloured


def test_names_are_bold_in_help_and_nothing_else_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (["info", "--help"], ["--help"]):
        assert main([*words, "--color", "never"]) == 0
        plain_text = capsys.readouterr().out
        assert main([*words, "--color", "always"]) == 0
        bold = capsys.readouterr().out
        assert "\x1b[1moptions:\x1b[0m" in bold
        assert "\x1b[1m--color\x1b[0m WHEN" in bold
        assert "\x1b[1m-h, --help\x1b[0m" in bold
        assert re.sub(r"\x1b\[[\d;]*m", "", bold) == plain_text
    assert "\x1b[1minfo\x1b[0m" in bold


def test_an_unknown_colour(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--color", "alwas", "info", "x"]) == 2
    assert "--color must be one of auto, always, never, got 'alwas'" in capsys.readouterr().err


def test_control_characters_of_a_message_are_never_raw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "\x1b]0;owned\x07\x9b2J.lmdb"]) == 1
    err = capsys.readouterr().err
    assert err.rstrip("\n").isprintable()
    assert r"\x1b]0;owned\x07" in err


def test_a_message_with_a_huge_argument_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "x" * 100_000]) == 1
    err = capsys.readouterr().err
    assert len(err) < 2200
    assert err.startswith("lmdb-reid info: error: ") and "xxx ... xxx" in err


# -- silence ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [["-q"], ["--quiet"], []])
@pytest.mark.parametrize("after", [["-q"], []])
def test_quiet_shows_no_progress(
    before: list[str],
    after: list[str],
    store_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lmdb_reid.progress._PLAIN_EVERY", 0.0)
    assert main([*before, "warm", str(store_path), *after]) == 0
    shown = capsys.readouterr()
    assert bool(shown.err) == (not before and not after)
    assert "read in" in shown.out


# -- completion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("shtab", reason="the extra 'completion' is not installed")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("doctor", "--num-bg-per-frame", "--cache-size", "market1501", "--train-meta"):
        assert word in script


def test_completion_without_shtab_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert 'pip install "lmdb_reid[completion]"' in capsys.readouterr().err


# -- the parser ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workers", "3"], "a similar option exists: --num-workers"),
        (["--numworkers", "3"], "a similar option exists: --num-workers"),
        (["--batch", "3"], "a similar option exists: --batch-size"),
        (["--old.thing", "3"], "say it so"),
        (["a", "--hepl"], "unknown option --hepl\nFor all options: x y --help"),
        (["a", "--help-me"], "unknown option --help-me\nFor all options: x y --help"),
        (["a", "b"], "unexpected argument 'b'\ntip: the command is x y THING [OPTIONS]"),
        ([], "THING is required"),
        (["a", "--num-workers"], "--num-workers needs a value: --num-workers N"),
    ],
)
def test_tips(words: list[str], told: str) -> None:
    parser = Parser("x y", None)
    parser.tips = {"--old.": "say it so"}
    parser.add_argument("thing", metavar="THING")
    parser.add_argument("--num-workers", type=int, metavar="N")
    parser.add_argument("--batch-size", type=int, metavar="N")
    with pytest.raises(UsageError) as caught:
        parser.parsed(words)
    assert told in str(caught.value)
    assert "tip: a similar option exists: --help" not in str(caught.value)


def test_a_plain_parser_configures_every_command_too() -> None:
    for name in OURS:
        commands()[name].load().configure(argparse.ArgumentParser())


# -- beginning and end -----------------------------------------------------------------------------


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([*CALL, "-V"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("lmdb-reid 0.")


def test_closed_streams_are_no_error(store_path: Path) -> None:
    for words, code in (("--help", 0), (f"query {store_path}", 0), ("info nothing", 1)):
        line = f"{sys.executable} -m lmdb_reid {words} >&- 2>&-"
        assert subprocess.run(["sh", "-c", line], check=False).returncode == code


@pytest.mark.parametrize("milliseconds", [1, 20, 60, 100, 150, 200, 300])
def test_ctrl_c_ends_with_130_at_any_moment(milliseconds: int, store_path: Path) -> None:
    script = f"""
import os, signal, threading, time
from lmdb_reid.cli.__main__ import main
began = threading.Event()
def press():
    began.wait()
    time.sleep({milliseconds / 1e3})
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press, daemon=True).start()
began.set()
code = main()
raise SystemExit(code)
"""
    words = [sys.executable, "-c", script, "query", str(store_path), "label == 1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode == 0:  # it had ended by then
        assert done.stdout.splitlines() == ["f000#001", "f001#000", "f001#003"]
        return
    assert done.returncode == 130, done.stderr
    assert re.fullmatch(r"lmdb-reid( query)?: interrupted\n", done.stderr)
