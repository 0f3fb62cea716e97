"""A source of a folder for each identity: what it takes to read a layout of one's own."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from builders import BoxRow, Files, Frame, Listing, frames_of
from builders.sources import Options
from lmdb_reid.errors import SourceNotFoundError, UsageError
from lmdb_reid.schema import Roles


class ByFolder:
    name = "by_folder"
    roles = Roles()

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def configure(cls, options: Options) -> None:
        options.add_argument("--root", metavar="DIR", help="a folder for each identity")

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        if not args.root:
            raise UsageError("--format by_folder needs --root DIR")
        return cls(Path(args.root))

    @classmethod
    def recognises(cls, root: Path) -> str:
        return "folders hold .jpg files" if next(root.glob("*/*.jpg"), None) else ""

    def read(self) -> Listing:
        names = {path.stem: path.relative_to(self.root) for path in self.root.glob("*/*.jpg")}
        if not names:
            raise SourceNotFoundError(f"no */*.jpg in {self.root} (--root)")
        labels = sorted({path.parent.name for path in names.values()})

        def frames() -> Iterator[Frame]:
            for key, path in sorted(names.items()):
                row = BoxRow(number=0, label=labels.index(path.parent.name), box=None)
                yield Frame(key=key, fields={"person": path.parent.name}, rows=(row,))

        return Listing(
            frames=frames_of(frames()),
            medium=Files(self.root, {key: str(path) for key, path in names.items()}),
            rows=len(names),
            settings={"format": self.name},
            places={"root": str(self.root.absolute())},
        )
