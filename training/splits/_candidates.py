"""What a rule splits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid._arguments import known_fields
from lmdb_reid._names import did_you_mean
from lmdb_reid.errors import UnknownColumnError
from lmdb_reid.schema import Roles, Rows
from training.splits._split import Split


@known_fields
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The samples that a rule deals out to parts, by their position."""

    labels: Rows
    """int64 [N]; below 0 is unknown."""
    order: Rows | None = None
    """All positions, int64 [N], in the order of the source; None is the order they have."""
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Further values by name, [N] each: cameras, groups, the source's own parts."""
    roles: Roles = field(default_factory=Roles)
    """Which of the columns say what; a rule's own arguments come before them."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def in_order(self) -> list[int]:
        """All positions in the order of the source."""
        found: list[int] = (np.arange(len(self)) if self.order is None else self.order).tolist()
        return found

    @property
    def identities(self) -> list[int]:
        """The distinct labels from 0 up, sorted."""
        distinct: list[int] = np.unique(self.labels[self.labels >= 0]).tolist()
        return distinct

    def column(self, name: str) -> npt.NDArray[Any]:
        """The values of a column, [N].

        Raises:
            UnknownColumnError: there is no such column.
        """
        if name not in self.columns:
            there = ", ".join(self.columns) or "none"
            raise UnknownColumnError(
                f"no column {name!r} to split by.{did_you_mean(name, self.columns)} There are:"
                f" {there}."
            )
        return self.columns[name]

    @property
    def camera(self) -> str | None:
        """The column that tells cameras apart; None: there is none."""
        return camera_column(self.roles, self.columns)

    def codes(self, *names: str) -> Rows:
        """One number for each sample, int64 [N], the same where these columns all agree."""
        codes = np.zeros(len(self), np.int64)
        for name in names:
            _, found = np.unique(self.column(name), return_inverse=True)
            _, codes = np.unique(codes * (found.max(initial=0) + 1) + found, return_inverse=True)
        return codes.astype(np.int64)


def camera_column(roles: Roles, columns: Collection[str]) -> str | None:
    """The column that tells cameras apart: that of the role, or "camera"; None: there is none."""
    return roles.camera or ("camera" if "camera" in columns else None)


Rule = Callable[[Candidates], Split]
"""Deals candidates out to parts: a pure function. Settings are bound with functools.partial."""
