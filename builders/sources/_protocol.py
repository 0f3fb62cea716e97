"""What a source of frames and boxes is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from builders.media import Medium
from builders.sources._frame import Rejected
from builders.sources._frames import Frames
from lmdb_reid.schema import Roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All that a source holds, before any picture was opened."""

    frames: Frames
    """`frames_of` makes them of single ones; a source of millions of rows gives columns."""
    medium: Medium
    """Where the pixels of the frames come from."""
    rows: int
    """Rows in the source, usable or not."""
    skipped: Sequence[Rejected] = ()
    """Rows that cannot be used."""
    dropped: Sequence[Rejected] = ()
    """Rows that were usable and were left out on purpose (outliers, repeats)."""
    doubled: Sequence[Rejected] = ()
    """Rows that are cut, though an earlier row of their frame has their label; `build` finds them
    (`builders.repeats`).
    """
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Digests of the files read so far; `--resume` refuses others."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What of the source's own settings decides the content."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Absolute paths, for the manifest's provenance. The first one tells sources of one layout
    apart: the file, or the folder, that was read.
    """
    roles: Roles | None = None
    """Which of the columns says what, where that depends on what was read; None: the source's."""


class Options(Protocol):
    """Where a source's options go: an `argparse.ArgumentParser`, or a group of one."""

    def add_argument(self, *names: str, **settings: Any) -> Any:
        """As argparse has it."""
        ...


class Source(Protocol):
    """A layout of frames and boxes, found by the build command as an entry point of the group
    `lmdb_reid.sources`.

    Laws: `read` opens no picture and gives the same listing each time; keys of frames are unique,
    and no settings change a row's number or order; every row is cut, skipped or dropped: none goes
    without a word. `builders.testing.SourceContract` tries them.
    """

    name: str
    """What `--format` calls it."""
    roles: Roles
    """Which of its columns says what."""

    @classmethod
    def configure(cls, options: Options) -> None:
        """Add the source's own options to the build command's."""
        ...

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """The source that these options mean.

        Raises:
            UsageError: an option is missing, or does not go with another.
        """
        ...

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Why a folder seems to be of this layout, in words; "" where it does not. Quick: it looks
        at names, and at the first lines of files.
        """
        ...

    def read(self) -> Listing:
        """List the frames and their boxes.

        Raises:
            SourceError: the source as a whole cannot be used.
        """
        ...
