"""Options that several formats have, said once."""

from __future__ import annotations

from pathlib import Path

from builders.sources._protocol import Options
from lmdb_reid.errors import UsageError


def add_root(options: Options, what: str) -> None:
    """`--root DIR`.

    Args:
        options: the format's.
        what: it is, in words.
    """
    options.add_argument("--root", metavar="DIR", help=what)


def needed_root(name: str, root: str | None) -> Path:
    """The folder that `--root` names.

    Raises:
        UsageError: there is no such option.
    """
    if not root:
        raise UsageError(f"--format {name} needs --root DIR")
    return Path(root)


def add_shared_identities(options: Options) -> None:
    """`--shared-identities`."""
    options.add_argument(
        "--shared-identities",
        action="store_true",
        help="accept identities that are in train and in query or gallery too",
    )


def add_first_frame(options: Options) -> None:
    """`--first-frame`."""
    options.add_argument(
        "--first-frame",
        type=int,
        choices=(0, 1),
        help="count the frames of each video from 0 or from 1; required for videos",
    )
