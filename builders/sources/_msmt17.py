"""MSMT17: crops, and lists of their paths and people."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from builders.sources._crops import Crop, crops_listing, key_of
from builders.sources._frame import Rejected
from builders.sources._options import add_root, needed_root
from builders.sources._protocol import Listing, Options
from builders.sources._tree import not_this_layout, place_of
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import DuplicateSampleError, SourceError
from lmdb_reid.schema import Roles

_LISTS = {name: f"list_{name}.txt" for name in ("train", "val", "query", "gallery")}
_TRAINED = ("train", "val")
_FOLDERS = {True: ("train", "mask_train_v2"), False: ("test", "mask_test_v2")}
_CAMERA = re.compile(r"[^_]*_[^_]*_(\d+)(?:_.*)?")


class MSMT17:
    """`list_train.txt, list_val.txt, list_query.txt, list_gallery.txt` of `path pid`; the camera is
    the third field of a file's name. Paths of the first two lists begin in `train` (or
    `mask_train_v2`), the others in `test` (or `mask_test_v2`), or at the root.

    The people of query and gallery are counted from 0 again, though they are others: their labels
    follow those of train. The column `pid` keeps the lists' own.

    Args:
        root: the folder of the lists.
    """

    name = "msmt17"
    roles = Roles(camera="camera", split="split")

    @known_arguments()
    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @classmethod
    def configure(cls, options: Options) -> None:
        """The folder."""
        add_root(options, f"read this folder of {_LISTS['train']}")

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Self:
        """As the command line says.

        Raises:
            UsageError: no folder.
        """
        return cls(needed_root(cls.name, args.root))

    @classmethod
    def recognises(cls, root: Path) -> str:
        """Whether one of the lists is there."""
        there = [name for name in _LISTS.values() if (root / name).is_file()]
        return f"there is {', '.join(there)}" if there else ""

    def read(self) -> Listing:
        """List the crops; see `Source`.

        Raises:
            SourceNotFoundError: no such folder.
            SourceError: it has none of the lists, or one cannot be read.
            DuplicateSampleError: a file stands on two lines.
        """
        lists = {split: name for split, name in _LISTS.items() if (self.root / name).is_file()}
        if not lists:
            raise not_this_layout(self.root, " or ".join(_LISTS.values()), self.recognises)
        inputs: dict[str, str] = {}
        lines: list[tuple[str, int, str]] = []
        for split, name in lists.items():
            text = _text(self.root / name)
            inputs[name] = hashlib.sha256(text.encode()).hexdigest()
            lines += [
                (split, at, line) for at, line in enumerate(text.split("\n"), 1) if line.strip()
            ]
        pids = [_pid(line) for split, _, line in lines if split in _TRAINED]
        found = [*self._crops(lines, max(pids, default=-1) + 1)]
        return crops_listing(self.name, self.root, found, inputs=inputs)

    def _crops(
        self, lines: list[tuple[str, int, str]], first_tested: int
    ) -> Iterator[Crop | Rejected]:
        """A row for each line.

        Args:
            lines: split, number and text of each.
            first_tested: the label of pid 0 in query and gallery.
        """
        seen: dict[str, str] = {}
        for split, number, line in lines:
            where = f"{_LISTS[split]} line {number}"
            pid, path = _pid(line), line.rpartition(" ")[0].strip()
            match = _CAMERA.fullmatch(Path(path).stem)
            if pid < 0 or not path:
                yield Rejected(where, "", f"it must be PATH PID, got {line[:80]!r}")
            elif match is None:
                reason = "the third field of its name must be the camera's number"
                yield Rejected(where, key_of(path), reason)
            else:
                path = self._place(path, trained=split in _TRAINED)
                if path in seen:
                    raise DuplicateSampleError(
                        f"a file must be in the lists once; {path} is in {seen[path]} and"
                        f" {where}, and their samples would have the same ids"
                    )
                seen[path] = where
                if not (self.root / path).is_file():
                    hint = place_of(self.root, path)
                    reason = f"{path} is not there" + (f": {hint}" if hint else "")
                    yield Rejected(where, key_of(path), reason)
                    continue
                fields = {"split": split, "camera": int(match[1]), "pid": pid}
                label = pid if split in _TRAINED else first_tested + pid
                document = f"{_LISTS[split]} line"
                yield Crop(path, label, fields, document=document, entry=number)

    def _place(self, path: str, *, trained: bool) -> str:
        for folder in _FOLDERS[trained]:
            if (self.root / folder / path).is_file():
                return f"{folder}/{path}"
        return path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None


def _pid(line: str) -> int:
    """The number at a line's end; -1 where there is none."""
    number = line.rpartition(" ")[2].strip()
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else -1
