"""The shell around every command: finds it, parses its arguments, turns errors into exit codes.

A command is an entry point of the group `lmdb_reid.commands`. It names a module that is imported
when the command is called, never before, and that has

    configure(parser: argparse.ArgumentParser) -> None    adds arguments, and an example as epilog
    run(args: argparse.Namespace) -> int                  does the work; 1 where it found a problem

and, where some options decide which others there are,

    extend(parser: argparse.ArgumentParser, words: Sequence[str]) -> None    adds those

Exit codes: 0 done, 1 it ran and found or met a problem, 2 wrong use, 130 interrupted, 141 whoever
read its output went away.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import select
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from lmdb_reid._lazy import EXTRA_OF_MODULE
from lmdb_reid._version import __version__
from lmdb_reid.errors import LmdbReidError, MissingExtraError, UsageError

PROG = "lmdb-reid"
GROUP = "lmdb_reid.commands"
_NOT_INSTALLED = "lmdb_reid can be imported but is not installed: pip install -e . in its checkout"
OK, PROBLEM, WRONG_USE, INTERRUPTED, READER_GONE = 0, 1, 2, 130, 141

# Kept here so that --help imports no command. The order is that of a first visit.
SUMMARIES = {
    "demo": "draw a small game, build a store of it, read it, and time that beside other ways",
    "build": "cut the boxes of a data set out of their frames, into a sealed store",
    "negatives": "write down, as a csv, the places of frames that show nobody or too little",
    "info": "what a store holds: counts, sizes, columns, where it came from",
    "verify": "check that a store is what was written",
    "merge": "several stores as one, without a copy of their pictures",
    "get": "one sample's picture and record",
    "sheet": "many samples on one contact sheet",
    "warm": "read a store into memory before training, or decode it once for all runs",
    "bench": "how long an epoch of loading takes here, and what to change first",
    "train": "train a small model on one fold of a store, its best weights kept",
    "embed": "features of a store's samples, by a trained model, kept beside the store",
    "rank": "score features: mAP, CMC and the open set, and draw the best and worst rank lists",
    "doctor": "what this machine and installation would make slow or break",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code; `argv` is sys.argv[1:] unless given."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold what the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    words = with_hyphens(sys.argv[1:] if argv is None else argv)
    prog = PROG
    try:
        if not words or words[0].startswith("-"):
            code = _without_command(words)
        else:
            name = words[0]
            entry = _find(name)
            prog = f"{PROG} {name}"
            code = _run(name, entry, words[1:])
        sys.stdout.flush()  # here, where a reader that went away can still be handled
        return code
    except BrokenPipeError as error:
        if not _reader_is_gone():  # some other pipe broke: that is no way to end quietly
            return _report(prog, error, PROBLEM)
        # What is left in the buffer would be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (UsageError, MissingExtraError) as error:
        return _report(prog, error, WRONG_USE)
    except ModuleNotFoundError as error:
        return _report(prog, *_explained(error))
    except (LmdbReidError, OSError) as error:
        return _report(prog, error, PROBLEM)


def with_hyphens(words: Sequence[str]) -> list[str]:
    """The arguments with `--an_option` spelt `--an-option`; values and all after a bare `--` stay.

    So no command can have an option of its own with an underscore in its name.
    """
    words = list(words)
    end = words.index("--") if "--" in words else len(words)
    for i, word in enumerate(words[:end]):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            words[i] = name.replace("_", "-") + equals + value
    return words


def commands() -> dict[str, EntryPoint]:
    """The installed commands by name: ours as SUMMARIES has them, then those of other packages."""
    # Of two commands of one name the first on sys.path is taken, as for modules.
    found = {entry.name: entry for entry in reversed(list(entry_points(group=GROUP)))}
    ours = [name for name in SUMMARIES if name in found]
    return {name: found[name] for name in (*ours, *sorted(found.keys() - SUMMARIES.keys()))}


def _without_command(words: Sequence[str]) -> int:
    """`lmdb-reid` alone, or with options only."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage=f"{PROG} COMMAND ...",
        description="Sealed LMDB stores of person crops: build them and look into them.",
        epilog=f"{_command_list()}\n\n{PROG} COMMAND --help shows its options and an example",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    try:
        parser.parse_args(words)
    except SystemExit as stop:
        return _code(stop)
    parser.print_help(sys.stderr)
    return WRONG_USE


def _command_list() -> str:
    found = commands()
    if not found:
        return f"no commands are installed: {_NOT_INSTALLED}"
    width = max(map(len, found))
    lines = []
    for name, entry in found.items():
        dist = entry.dist.name if entry.dist else entry.value
        lines.append(f"  {name:<{width}}  {SUMMARIES.get(name, f'a command of {dist}')}")
    return "commands:\n" + "\n".join(lines)


def _find(name: str) -> EntryPoint:
    found = commands()
    if name in found:
        return found[name]
    if not found:
        raise UsageError(f"no command {name!r}: {_NOT_INSTALLED}")
    near = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"no command {name!r}: {hint}{PROG} --help lists them all")


def _run(name: str, entry: EntryPoint, words: Sequence[str]) -> int:
    try:
        module: ModuleType = entry.load()
    except ModuleNotFoundError as error:
        if not {"-h", "--help"} & set(words):
            raise
        # A newcomer asks for help before anything is installed that the command needs.
        advice, _ = _explained(error)
        print(
            f"{PROG} {name}: {SUMMARIES.get(name, '')}\n\nits options are shown where what it needs"
        )
        print(f"is installed: {advice}")
        return OK
    parser = argparse.ArgumentParser(
        prog=f"{PROG} {name}",
        description=SUMMARIES.get(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # or a new option could change what an old script means
    )
    module.configure(parser)
    if hasattr(module, "extend"):
        module.extend(parser, words)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:
        return _code(stop)
    return int(module.run(args))


def _code(stop: SystemExit) -> int:
    """What argparse ended with: 0 after --help, 2 after a wrong argument."""
    return stop.code if isinstance(stop.code, int) else OK


def _explained(error: ModuleNotFoundError) -> tuple[Exception, int]:
    """What to do about a module that is not there, and the exit code for it."""
    package = (error.name or "").partition(".")[0]
    if package in EXTRA_OF_MODULE:
        return MissingExtraError.of(package, EXTRA_OF_MODULE[package], "this command"), WRONG_USE
    if package in ("lmdb_reid", "builders", "training"):
        advice = f"it is incomplete, or hidden by another {package}: {PROG} doctor tells"
    else:
        advice = "install the package that brings it"
    return UsageError(f"{error}: {advice}"), PROBLEM


def _report(prog: str, error: BaseException, code: int) -> int:
    """One line on stderr, after the traceback where LMDB_REID_TRACEBACK=1 asks for it."""
    if os.environ.get("LMDB_REID_TRACEBACK") == "1":
        traceback.print_exception(error)
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, LmdbReidError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    message = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    print(f"{prog}: {message or type(error).__name__}", file=sys.stderr)
    return code


def _reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more."""
    with contextlib.suppress(OSError, ValueError):  # not a real file, or closed
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    return False
