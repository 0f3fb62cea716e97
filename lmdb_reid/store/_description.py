"""What a store holds, in figures."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmdb_reid._visible import visible
from lmdb_reid.machine import size_in_words
from lmdb_reid.schema import NO_LABEL, Roles, Rows, Size
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._manifest import Manifest


class _Described(Protocol):
    """What of a store is described."""

    path: Path
    manifest: Manifest
    columns: Columns

    @property
    def kinds(self) -> dict[str, int]: ...
    def part_files(self) -> list[Path]: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a store holds; prints as a few lines."""

    path: Path
    samples: int
    kinds: dict[str, int]
    """How many samples of each kind."""
    identities: int
    images_each: tuple[int, int, int] | None
    """(least, median, most) samples of an identity; None if there are no identities."""
    size: Size | None
    """(height, width) if all images have one size."""
    bytes: int
    """On the disk."""
    columns: tuple[str, ...]
    roles: Roles

    digest: str
    """Of the content."""

    def lines(self) -> dict[str, str]:
        """{what: its figures}, as `repr` and `lmdb-reid info` print them."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.items())
        each = ""
        if self.images_each is not None:
            least, median, most = self.images_each
            each = f"; images each: {least:,} to {most:,}, median {median:,}"
        images = "native: each box has its own size"
        if self.size is not None:
            images = f"{self.size[0]}x{self.size[1]} (height x width)"
        roles = {name: value for name, value in dataclasses.asdict(self.roles).items() if value}
        return {
            "samples": f"{self.samples:,}: {kinds}",
            "identities": f"{self.identities:,}{each}",
            "images": images,
            "on disk": size_in_words(self.bytes),
            "digest": self.digest,
            "columns": ", ".join(self.columns),
            "roles": ", ".join(
                f"{name} {value if isinstance(value, str) else ' + '.join(value)}"
                for name, value in roles.items()
            ),
        }

    def __repr__(self) -> str:
        entries = (f"  {name:<11} {text}" for name, text in self.lines().items())
        return "\n".join(map(visible, (str(self.path), *entries)))


def describe(store: _Described) -> Description:
    """What a store holds: counts, sizes, columns and roles."""
    counts = images_of_each(store.columns["label"])[1]
    return Description(
        path=store.path,
        samples=len(store),
        kinds=store.kinds,
        identities=store.manifest.identities,
        images_each=images_each(counts),
        size=store.manifest.size,
        bytes=_bytes({*store.path.rglob("*"), *store.part_files()}),
        columns=tuple(store.columns),
        roles=store.manifest.roles,
        digest=store.manifest.digest,
    )


def images_of_each(labels: npt.NDArray[np.int64]) -> tuple[Rows, Rows]:
    """(the labels from 0 on, ascending; how many samples each has), int64 [identities] both."""
    known, counts = np.unique(labels[labels > NO_LABEL], return_counts=True)
    return known, counts


def images_each(counts: Rows) -> tuple[int, int, int] | None:
    """(least, median, most) of the samples of each identity; None if there are no identities."""
    if not len(counts):
        return None
    ordered = np.sort(counts).tolist()
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]


def _bytes(files: set[Path]) -> int:
    total = 0
    for file in files:
        with contextlib.suppress(OSError):  # removed meanwhile
            total += file.stat().st_size if file.is_file() else 0
    return total
