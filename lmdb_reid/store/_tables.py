"""A store's columns as a table, and questions to it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import numpy as np

from lmdb_reid.errors import MissingExtraError, UsageError
from lmdb_reid.schema import Kind, Rows
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._ids import Ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

_IDS = frozenset({"id", "index"})  # what pandas calls the ids, where a table has them


def whole(ids: Ids, columns: Columns) -> pd.DataFrame:
    """All columns, indexed by sample id, in row order; strings as categories.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    return _table(ids, columns, list(columns), with_ids=True)


def query(ids: Ids, columns: Columns, expression: str) -> Rows:
    """Row numbers for which an expression over the columns is true, int64, ascending.

    It is evaluated by pandas' own parser, without numexpr and with no names but the columns'. Only
    the columns that it names are read, and ids are made only where it names them.

    Raises:
        MissingExtraError: pandas is not installed.
        UsageError: the expression cannot be evaluated, or is no condition.
    """
    names = _names(expression)
    wanted = list(columns) if names is None else [name for name in columns if name in names]
    with_ids = names is None or bool(_IDS - set(columns) & names)
    table = _table(ids, columns, wanted, with_ids=with_ids)
    _check_kinds(table, expression)
    try:
        found = table.eval(expression, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # pandas raises whatever its parser, numpy or a dtype raises
        raise UsageError(
            f"query {expression!r}: {type(error).__name__}: {error}. Columns: {', '.join(columns)}"
        ) from None
    mask = np.asarray(found)
    if mask.dtype != bool or mask.shape != (len(ids),):
        raise UsageError(
            f"query {expression!r} is no condition: it gives {type(found).__name__}, not true or"
            " false for each sample"
        )
    return np.flatnonzero(mask).astype(np.int64)


def _table(ids: Ids, columns: Columns, names: list[str], *, with_ids: bool) -> pd.DataFrame:
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


def _names(expression: str) -> set[str] | None:
    """The names in an expression; None where only pandas can say."""
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # pandas' dialect has more than Python's
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _check_kinds(table: pd.DataFrame, expression: str) -> None:
    """Refuse to compare numbers with text: pandas finds nothing then, silently."""
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        return  # pandas' dialect has more than Python's; it tells what is wrong
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        parts = [node.left, *node.comparators]
        names = [part.id for part in parts if isinstance(part, ast.Name)]
        values = [value for part in parts for value in _constants(part)]
        texts = [value for value in values if isinstance(value, str)]
        numbers = [value for value in values if isinstance(value, (int, float))]
        for name in names:
            if name not in table.columns:
                continue
            if texts and table[name].dtype.kind in "iuf":
                hint = ": " + ", ".join(f"{kind} {kind.title}" for kind in Kind)
                raise UsageError(
                    f"query {expression!r}: {name} holds numbers, not {texts[0]!r}"
                    + (hint if name == "kind" else "")
                )
            if numbers and table[name].dtype.kind == "O":
                raise UsageError(
                    f"query {expression!r}: {name} holds text, not the number {numbers[0]!r}:"
                    f" write '{numbers[0]!r}'"
                )


def _constants(part: ast.expr) -> Iterator[object]:
    """The values that stand in a part of a comparison: alone, negated, or in a list."""
    if isinstance(part, ast.Constant):
        yield part.value
    elif isinstance(part, ast.UnaryOp):
        yield from _constants(part.operand)
    elif isinstance(part, (ast.List, ast.Tuple, ast.Set)):
        for element in part.elts:
            yield from _constants(element)
