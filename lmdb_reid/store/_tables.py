"""A store's columns as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmdb_reid.errors import MissingExtraError
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._ids import Ids

if TYPE_CHECKING:
    import pandas as pd


def whole(ids: Ids, columns: Columns) -> pd.DataFrame:
    """All columns, indexed by sample id, in row order; strings as categories.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    return table_of(ids, columns, list(columns), with_ids=True)


def table_of(ids: Ids, columns: Columns, names: list[str], *, with_ids: bool) -> pd.DataFrame:
    """Some columns, indexed by sample id or, which is cheaper, by row."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError.of("pandas", "notebook", "a table of the store") from None
    table = {}
    for name in names:
        values, categories = columns[name], columns.categories(name)
        strings = categories is not None
        table[name] = pd.Categorical.from_codes(values, categories) if strings else values
    index = pd.Index(ids[:], name="id") if with_ids else pd.RangeIndex(len(ids))
    return pd.DataFrame(table, index=index, copy=False)
