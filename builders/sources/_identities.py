"""Identities as a source names them, and their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from lmdb_reid.schema import NO_LABEL

_NOBODY = ("", "-1")
"""What stands for a person whose identity is unknown."""


@dataclass(frozen=True, slots=True)
class Identities:
    """The label of each identity: the number that it is called by, where all are whole numbers;
    else its place among all names, which are sorted.

    Args:
        labels: by name.
        are_numbers: a name is its label's number.
    """

    labels: Mapping[str, int]
    are_numbers: bool

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """The labels of these names."""
        known = {*names} - {*_NOBODY}
        if all(name.isascii() and name.isdecimal() and len(name) < 19 for name in known):
            return cls({name: int(name) for name in known}, True)
        return cls({name: label for label, name in enumerate(sorted(known))}, False)

    def label(self, name: str) -> int:
        """The label of a name; -1 where the identity is unknown.

        Raises:
            KeyError: no such name.
        """
        return NO_LABEL if name in _NOBODY else self.labels[name]
