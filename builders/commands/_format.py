"""`--format`, and the options that the format brings: what commands over sources share."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builders.registry import AUTO, recognised, source_class, source_names
from builders.settings import MAX_SKIPPED
from lmdb_reid.errors import UsageError
from lmdb_reid.progress import say

if TYPE_CHECKING:
    from builders.sources import Source


def add_format(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Add `--format`, which is required where there is no default."""
    end = f" (default: {default})" if default else ""
    parser.add_argument(
        "--format",
        required=default is None,
        default=default,
        metavar="FORMAT",
        help=f"read this layout: {', '.join(source_names())}; or {AUTO}: recognise it{end}",
    )
    parser.set_defaults(found_format=None)


def add_format_options(
    parser: argparse.ArgumentParser, words: Sequence[str], *, default: str | None = None
) -> argparse._ArgumentGroup | None:
    """Add the options of the format that is given, or else of the default.

    Args:
        parser: the command's.
        words: what was given to it.
        default: the format unless one is given.

    Returns:
        The group of these options; None where there is no format.

    Raises:
        UsageError: no such format, or no folder to look at.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--format", default=default)
    first.add_argument("--root")
    with contextlib.suppress(argparse.ArgumentError):  # an error when all of it is parsed
        given = first.parse_known_args(words)[0]
        if given.format == AUTO:
            if not given.root:
                raise UsageError(f"--format {AUTO} needs --root DIR")
            given.format, why = recognised(Path(given.root))
            say(f"format {given.format}: {why}")
            parser.set_defaults(found_format=given.format)
        if given.format is not None:
            return _options_of(parser, given.format)
    return None


def complete_formats(parser: argparse.ArgumentParser) -> None:
    """Add what a shell completes: the formats, and the options of them all."""
    known: set[str] = set()
    for action in parser._actions:
        known.update(action.option_strings)
        if action.dest == "format":
            action.choices = [*source_names(), AUTO]
    for name in source_names():
        one = argparse.ArgumentParser(add_help=False)
        source_class(name).configure(one.add_argument_group())
        for action in one._actions:
            if not known & {*action.option_strings}:
                known.update(action.option_strings)
                parser._add_action(action)


def add_reading(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add `--num-workers`, `--strict` and `--max-skipped`; the workers' help begins with `verb`."""
    add = parser.add_argument
    add(
        "--num-workers",
        type=int,
        metavar="N",
        help=f"{verb} in N threads (default: one for each core)",
    )
    add("--strict", action="store_true", help="fail if any row is unusable")
    add(
        "--max-skipped",
        type=_share,
        default=MAX_SKIPPED,
        metavar="SHARE",
        help="fail if more than this share of rows is unusable (default: %(default)s)",
    )


def _share(text: str) -> float:
    """A number from 0 to 1.

    Raises:
        ArgumentTypeError: it is another one, or a word.
    """
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"must be a share from 0 to 1, got {text}")
    return share


def given_source(args: argparse.Namespace) -> Source:
    """The source that the arguments name.

    Raises:
        UsageError: an option of it is missing.
    """
    return source_class(args.found_format or args.format).from_args(args)


def _options_of(parser: argparse.ArgumentParser, name: str) -> argparse._ArgumentGroup:
    group = parser.add_argument_group(f"options of --format {name}")
    try:
        source_class(name).configure(group)
    except argparse.ArgumentError as error:
        raise UsageError(
            f"the format {name!r} cannot be used: its options are the command's own ({error})"
        ) from error
    return group
