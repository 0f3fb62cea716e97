"""How many rows of a source may go unused before that is an error."""

from __future__ import annotations

from collections.abc import Sequence

from builders.sources import LeftOut
from lmdb_reid.errors import SourceError, TooManySkippedError

MAX_SKIPPED = 0.05
"""The share of a source's rows, unless told otherwise."""


def check_skipped(
    skipped: Sequence[LeftOut],
    rows: int,
    *,
    strict: bool = False,
    max_skipped: float = MAX_SKIPPED,
) -> None:
    """Accept the rows skipped so far, or not.

    Args:
        skipped: all of them.
        rows: how many rows the source has.
        strict: one is too many.
        max_skipped: the largest share of rows that may be skipped.

    Raises:
        SourceError: a row was skipped under `strict`.
        TooManySkippedError: more rows were skipped than allowed.
    """
    if strict and skipped:
        first = skipped[0]
        raise SourceError(f"line {first.line} cannot be used (--strict): {first.reason}")
    if len(skipped) > max_skipped * rows:
        told = "; ".join(f"line {row.line}: {row.reason}" for row in skipped[:3])
        raise TooManySkippedError(
            f"{len(skipped):,} of {rows:,} rows cannot be used, more than {max_skipped:.0%}"
            f" (--max-skipped): {told}{' ...' if len(skipped) > 3 else ''}"
        )
