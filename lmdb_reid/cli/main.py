"""The shell around every command: finds it, parses its arguments, turns errors into exit codes.

A command is an entry point of the group `lmdb_reid.commands`. It names a module that is imported
when the command is called, never before, and that has

    configure(parser: argparse.ArgumentParser) -> None    adds arguments, and an example as epilog
    run(args: argparse.Namespace) -> int                  does the work; 1 if it found a problem

and, if some options decide which others there are,

    extend(parser: argparse.ArgumentParser, words: Sequence[str]) -> None    adds those

and, if people type options that it does not have,

    TIPS: Mapping[str, str]    {"--lr": "what to write instead, a phrase"}

Its options --json, -q and --color are also taken before its name. Exit codes: 0 done, 1 it ran and
found or met a problem, 2 wrong use, 130 interrupted, 141 whoever read its output went away.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from lmdb_reid import progress
from lmdb_reid._lazy import EXTRA_OF_MODULE
from lmdb_reid._version import __version__
from lmdb_reid._visible import visible
from lmdb_reid.cli import _colour
from lmdb_reid.cli._commands import GROUP, PROG, SUMMARIES, commands, find, listing
from lmdb_reid.cli._interrupts import INTERRUPTED, raise_again
from lmdb_reid.cli._parser import Parser
from lmdb_reid.errors import LmdbReidError, MissingExtraError, UsageError

__all__ = [
    "GROUP",
    "PROG",
    "SUMMARIES",
    "commands",
    "configured",
    "main",
    "main_parser",
    "with_hyphens",
]

OK, PROBLEM, WRONG_USE, READER_GONE = 0, 1, 2, 141
_LONG = 2000  # characters of a message that are printed
_HELP = "help"  # a word, not a command: `help build` is `build --help`
_WAY = re.compile(r"\n(?=tip: |For all )")  # where the message of a parser begins to say what helps


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; `argv` is sys.argv[1:] unless given."""
    prog, as_json = PROG, False
    try:
        _prepare_streams()
        words = _command_first(with_hyphens(sys.argv[1:] if argv is None else argv))
        as_json = "--json" in _options(words)
        _colour.choose(_wanted_colour(words))
        if words and words[0] == _HELP:
            words = [*[word for word in words[1:] if not word.startswith("-")][:1], "--help"]
        if not words or words[0].startswith("-"):
            code = _without_command(words)
        else:
            entry = find(words[0])
            prog = f"{PROG} {entry.name}"
            code = _run(prog, entry, words[1:])
        sys.stdout.flush()  # here, where a reader that went away can still be handled
        return code
    except BrokenPipeError as error:
        if not _reader_is_gone():  # some other pipe broke: that is no way to end quietly
            return _report(prog, error, PROBLEM, as_json=as_json)
        # What is left in the buffer would be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (UsageError, MissingExtraError) as error:
        return _report(prog, error, WRONG_USE, as_json=as_json)
    except ModuleNotFoundError as error:
        return _report(prog, *_explained(error), as_json=as_json)
    except (LmdbReidError, OSError) as error:
        return _report(prog, error, PROBLEM, as_json=as_json)


def with_hyphens(words: Sequence[str]) -> list[str]:
    """The arguments with `--an_option` spelt `--an-option`; values and all after a bare `--` stay.

    So no command can have an option of its own with an underscore in its name.
    """
    words = list(words)
    for i, word in enumerate(_options(words)):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            words[i] = name.replace("_", "-") + equals + value
    return words


def configured(parser: Parser, module: ModuleType, words: Sequence[str] = ()) -> Parser:
    """A command's parser with its arguments.

    Args:
        parser: of the command.
        module: the command's; has `configure`, and perhaps `extend` and `TIPS`.
        words: the arguments, for `extend`.
    """
    parser.tips = getattr(module, "TIPS", {})
    module.configure(parser)
    if hasattr(module, "extend"):
        module.extend(parser, words)
    _add_shared(parser)
    return parser


def main_parser() -> Parser:
    """The parser of `lmdb-reid` without a command."""
    parser = Parser(
        PROG,
        "Build sealed LMDB stores of person crops, look into them, and train from them.",
        usage=f"{PROG} COMMAND ...",
    )
    parser.tips = {"-v": "-V prints the version, -q shows no progress"}
    parser.epilog = f"""{listing()}

{PROG} help COMMAND shows a command's options and an example

example:
  {PROG} info games.lmdb"""
    parser.add_argument(
        "-V",
        "--version",
        action="version",
        version=f"{PROG} {__version__}",
        help="print the version",
    )
    _add_shared(parser)
    return parser


def _prepare_streams() -> None:
    """Let every text be printed, also where there is nobody to read it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before we began; its descriptor would be the next file's
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # for all of the process
        elif isinstance(stream, io.TextIOWrapper):  # a path may hold what it cannot show
            stream.reconfigure(errors="backslashreplace")


def _without_command(words: Sequence[str]) -> int:
    """`lmdb-reid` alone, or with options only."""
    parser = main_parser()
    try:
        parser.parsed(words)
    except SystemExit as stop:
        return _code(stop)
    parser.print_help(sys.stderr)
    return WRONG_USE


def _add_shared(parser: Parser) -> None:
    """The options that every command has, unless it has them itself."""
    taken = set(parser.names())
    if not {"-q", "--quiet"} & taken:
        parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    if "--color" not in taken:
        parser.add_argument(
            "--color",
            choices=_colour.WHEN,
            metavar="WHEN",
            help="use colour: auto (on a terminal, if NO_COLOR is not set), always or never",
        )


def _run(prog: str, entry: EntryPoint, words: Sequence[str]) -> int:
    try:
        module: ModuleType = entry.load()
    except ModuleNotFoundError as error:
        if not {"-h", "--help"} & set(words):
            raise
        # A newcomer asks for help before anything is installed that the command needs.
        advice, _ = _explained(error)
        print(f"{prog}: {SUMMARIES.get(entry.name, '')}\n\nIts options cannot be shown: {advice}")
        return OK
    parser = configured(Parser(prog, SUMMARIES.get(entry.name)), module, words)
    try:
        args = parser.parsed(words)
    except SystemExit as stop:
        return _code(stop)
    quiet = vars(args).pop("quiet", False)
    vars(args).pop("color", None)  # known already
    raise_again()
    with progress.silenced(quiet), _plain_warnings(prog):
        return int(module.run(args))


@contextlib.contextmanager
def _plain_warnings(prog: str) -> Iterator[None]:
    """Warnings look like errors: a line, without the place in the code that they come from."""
    import warnings

    def line(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> str:
        if category is not UserWarning:  # of Python and of other packages, for whoever writes code
            return before(message, category, *place, **more)
        name, what = _colour.bold(prog, sys.stderr), _colour.yellow("warning", sys.stderr)
        return f"{name}: {what}: {visible(str(message))}\n"

    before = warnings.formatwarning
    warnings.formatwarning = line
    try:
        yield
    finally:
        warnings.formatwarning = before


def _command_first(words: list[str]) -> list[str]:
    """The words with those of our options that stand before the command behind it."""
    at = 0
    while at < len(words) and words[at].partition("=")[0] in ("--json", "-q", "--quiet", "--color"):
        at += 2 if words[at] == "--color" else 1
    return [*words[at : at + 1], *words[:at], *words[at + 1 :]]


def _options(words: Sequence[str]) -> Sequence[str]:
    """The words before a bare `--`."""
    return words[: words.index("--")] if "--" in words else words


def _wanted_colour(words: Sequence[str]) -> str:
    """Looked for before anything is parsed: errors of parsing have colour too."""
    options = [part for word in _options(words) for part in word.split("=", 1)]
    wanted = [value for name, value in itertools.pairwise(options) if name == "--color"]
    return wanted[-1] if wanted and wanted[-1] in _colour.WHEN else _colour.AUTO


def _code(stop: SystemExit) -> int:
    """What argparse ended with: 0 after --help."""
    return stop.code if isinstance(stop.code, int) else OK


def _explained(error: ModuleNotFoundError) -> tuple[Exception, int]:
    """What to do about a module that is not there, and the exit code for it."""
    package = (error.name or "").partition(".")[0]
    if package in EXTRA_OF_MODULE:
        return MissingExtraError.of(package, EXTRA_OF_MODULE[package], "this command"), WRONG_USE
    if package in ("lmdb_reid", "builders", "training"):
        advice = f"it is incomplete, or hidden by another {package}. Run {PROG} doctor"
    else:
        advice = "install the package that brings it"
    return UsageError(f"{error}: {advice}"), PROBLEM


def _report(prog: str, error: BaseException, code: int, *, as_json: bool = False) -> int:
    """What is wrong, and perhaps a tip, on stderr, a line each; after the traceback if
    LMDB_REID_TRACEBACK=1 asks for it. On stdout too, as JSON, where that was asked for.
    """
    from lmdb_reid.cli.output import print_json  # with json, which --help does not need

    if os.environ.get("LMDB_REID_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, LmdbReidError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text, *ways = _WAY.split(text, maxsplit=1)
    message = visible("; ".join(line.strip() for line in text.splitlines() if line.strip()))
    message = message or type(error).__name__
    if len(message) > _LONG:  # it may hold a whole argument
        message = f"{message[: _LONG // 2]} ... {message[-_LONG // 2 :]}"
    if as_json:
        told = {"type": type(error).__name__, "message": message, "exit_code": code}
        with contextlib.suppress(OSError):  # nobody reads it
            print_json({"error": told})
            sys.stdout.flush()
    name, wrong = _colour.bold(prog, sys.stderr), _colour.red("error", sys.stderr)
    print(f"{name}: {wrong}: {message}", file=sys.stderr)
    for way in ways:
        print(way.replace("tip", _colour.green("tip", sys.stderr), 1), file=sys.stderr)
    return code


def _reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more."""
    import select

    with contextlib.suppress(OSError, ValueError):  # not a real file, or closed
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    return False
