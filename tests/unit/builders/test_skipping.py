from __future__ import annotations

import pytest

from builders import LeftOut
from builders.skipping import check_skipped
from lmdb_reid.errors import SourceError, TooManySkippedError

FIVE = [LeftOut(line, "f", f"reason {line}") for line in range(2, 7)]


def test_up_to_the_share_rows_may_be_skipped() -> None:
    check_skipped([], 0)
    check_skipped(FIVE, 100)
    check_skipped(FIVE, 5, max_skipped=1)
    with pytest.raises(TooManySkippedError) as caught:
        check_skipped(FIVE, 99)
    assert str(caught.value) == (
        "5 of 99 rows cannot be used, more than 5% (--max-skipped): line 2: reason 2; line 3:"
        " reason 3; line 4: reason 4 ..."
    )


def test_strict_names_the_first() -> None:
    check_skipped([], 100, strict=True)
    with pytest.raises(SourceError, match=r"line 2 cannot be used \(--strict\): reason 2"):
        check_skipped(FIVE, 1000, strict=True)
