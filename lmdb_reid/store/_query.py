"""Rows that fit a condition on the columns."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmdb_reid._names import did_you_mean
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Kind, Rows
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._tables import table_of

if TYPE_CHECKING:
    import pandas as pd

_IDS = frozenset({"id", "index"})  # what pandas calls the ids, where a table has them
_KIND = "kind"
_EQUALS = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
_NEAR = 10_000  # values among which the nearest is looked for
_SHOWN = 200  # characters of an expression that a message repeats


def query(ids: Ids, columns: Columns, expression: str | None, equal: Mapping[str, Any]) -> Rows:
    """Rows for which an expression is true and columns have given values, int64, ascending.

    An expression is evaluated by pandas' own parser, without numexpr and with no names but the
    columns'. Only the columns that it names are read, and ids are made only where it names them.
    Values are compared with numpy.

    Raises:
        MissingExtraError: an expression needs pandas, which is not installed.
        UsageError: the expression cannot be evaluated or is not a condition, or a column cannot
            have such a value.
        UnknownColumnError: no column of a name in `equal`.
    """
    if expression is None and not equal:
        raise UsageError('query must be a condition, such as "label == 3" or label=3, got none.')
    mask = np.ones(len(ids), bool) if expression is None else _mask(ids, columns, expression)
    for name, value in equal.items():
        mask = mask & _equal(columns, name, value)
    return np.flatnonzero(mask).astype(np.int64)


def _equal(columns: Columns, name: str, value: Any) -> npt.NDArray[np.bool_]:
    """Where a column has a value, or one of several."""
    column, categories = columns[name], columns.categories(name)
    values = value if isinstance(value, list | tuple | set | range | np.ndarray) else [value]
    wanted: list[Any] = []
    for one in values:
        if categories is not None and isinstance(one, str):
            wanted += [categories.index(one)] if one in categories else []
        elif name == _KIND and isinstance(one, str):
            wanted.append(_kind(f"{name}={one!r}", one))
        elif categories is None and isinstance(one, int | float | np.number):
            wanted.append(one)
        else:
            holds = "numbers" if categories is None else "text"
            raise UsageError(f"query {name}={one!r}: {name} holds {holds}, not {one!r}.")
    return np.isin(column, np.array(wanted)) if wanted else np.zeros(len(column), bool)


def _mask(ids: Ids, columns: Columns, expression: str) -> npt.NDArray[np.bool_]:
    if not isinstance(expression, str):
        raise UsageError(f"query must be a text such as 'label == 3', got {expression!r}.")
    if not expression.strip():
        raise UsageError("query must be a condition such as 'label == 3', got an empty text.")
    expression = expression.strip()
    _check_assigns_nothing(expression)
    tree = _parsed(expression)
    names = _names(tree)
    if names is not None:
        _check_names(names, columns, expression)
    wanted = list(columns) if names is None else [name for name in columns if name in names]
    with_ids = names is None or bool(_IDS - set(columns) & names)
    table = table_of(ids, columns, wanted, with_ids=with_ids)
    evaluated = expression
    if tree is not None:
        if names is not None and names & {_KIND, "Kind"}:
            evaluated = ast.unparse(_NumberedKinds(expression).visit(tree))
        _check_types(table, tree, expression)
    try:
        found = table.eval(evaluated, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # pandas raises whatever its parser, numpy or a dtype raises
        raise UsageError(
            f"query {_shown(expression)} cannot be evaluated: {_reason(expression, error)}."
            f" Columns: {', '.join(columns)}."
        ) from None
    mask = np.asarray(found)
    if mask.dtype != bool or mask.shape != (len(ids),):
        raise UsageError(
            f"query must be true or false for each sample, got {type(found).__name__}:"
            f" {_shown(expression)}. Compare with a value, as in 'label == 3'."
        )
    return mask


def absent_values(columns: Columns, expression: str) -> list[str]:
    """A sentence for each text that an expression compares a column with and no sample has, such
    as split == 'qurey': pandas finds nothing then, silently. Of an expression that `query` took.
    """
    tree = _parsed(expression.strip())
    found: dict[str, None] = {}
    for node in () if tree is None else ast.walk(tree):
        if not isinstance(node, ast.Compare) or not all(isinstance(op, _EQUALS) for op in node.ops):
            continue
        parts = [node.left, *node.comparators]
        texts = [one for part in parts for one in _constants(part) if isinstance(one, str)]
        for name in (part.id for part in parts if isinstance(part, ast.Name)):
            categories = columns.categories(name) if texts and name in columns else None
            for text in texts:
                if categories is not None and text not in categories:
                    near = did_you_mean(text, categories[:_NEAR])
                    found[f"No sample has {text!r} as {name}.{near}"] = None
    return list(found)


def _operators(expression: str) -> list[tuple[int, str, int]]:
    """(place, operator, depth of brackets) of each operator of an expression, none of its texts."""
    found, depth = [], 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(expression).readline):
            if token.type == tokenize.OP and token.start[0] == 1:
                depth += (token.string in "([{") - (token.string in ")]}")
                found.append((token.start[1], token.string, depth))
    except (tokenize.TokenError, SyntaxError):
        return []
    return found


def _replaced(expression: str, words: Mapping[str, str]) -> str:
    """An expression with some of its operators exchanged."""
    for place, operator, _ in reversed(_operators(expression)):
        if operator in words:
            before, after = expression[:place], expression[place + len(operator) :]
            expression = f"{before.rstrip()} {words[operator]} {after.lstrip()}"
    return expression


def _parsed(expression: str) -> ast.Expression | None:
    """The tree of an expression as pandas reads it, in which `&` is `and` and `|` is `or`; None if
    only pandas can say.
    """
    plain = expression.replace("`", "")  # around names, of which no column's needs them
    try:
        return ast.parse(_replaced(plain, {"&": "and", "|": "or"}), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # pandas' dialect has more than Python's


def _reason(expression: str, error: Exception) -> str:
    """Why an expression is none, in Python's words; pandas' speak of libraries and places in it."""
    try:
        ast.parse(_replaced(expression.replace("`", ""), {"&": "and", "|": "or"}), mode="eval")
    except SyntaxError as wrong:
        return wrong.msg
    except (ValueError, RecursionError, MemoryError):
        return "it is too deep"
    return f"{type(error).__name__}: {error}"


def _shown(expression: str) -> str:
    """An expression in quotation marks, its middle left out where it is long."""
    half = _SHOWN // 2
    if len(expression) > _SHOWN:
        expression = f"{expression[:half]} ... {expression[-half:]}"
    return repr(expression)


def _check_assigns_nothing(expression: str) -> None:
    if any(operator == "=" and not depth for _, operator, depth in _operators(expression)):
        raise UsageError(
            f"query must be a condition, got an assignment: {_shown(expression)}. Did you mean"
            f" {_shown(_replaced(expression, {'=': '=='}))}?"
        )


def _names(tree: ast.Expression | None) -> set[str] | None:
    """The names in an expression; None where only pandas can say."""
    if tree is None:
        return None
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in called}


def _check_names(names: set[str], columns: Columns, expression: str) -> None:
    for name in sorted(names - set(columns) - _IDS - {"Kind"}):
        hint = did_you_mean(name, ["id", *columns])
        raise UsageError(
            f"query {_shown(expression)} names a column {name!r}, which does not exist.{hint}"
            f" Columns: id, {', '.join(columns)}."
        )


class _NumberedKinds(ast.NodeTransformer):
    """Numbers in the place of the names of kinds: kind == 'person', kind == Kind.PERSON."""

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Name) and side.id == _KIND for side in sides):
            node.left, *node.comparators = [self._numbered(side) for side in sides]
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "Kind":
            return ast.Constant(_kind(self._expression, node.attr))
        return self.generic_visit(node)

    def _numbered(self, side: ast.expr) -> ast.expr:
        if isinstance(side, ast.Constant) and isinstance(side.value, str):
            return ast.Constant(_kind(self._expression, side.value))
        if isinstance(side, ast.List | ast.Tuple | ast.Set):
            return ast.List([self._numbered(one) for one in side.elts], ast.Load())
        return side


def _kind(expression: str, name: str) -> int:
    """The number of a kind's name, in whatever case."""
    try:
        return int(Kind[name.upper()])
    except KeyError:
        titles = [kind.title for kind in Kind]
        rule = ", ".join(f"{title!r} ({number})" for number, title in enumerate(titles))
        hint = did_you_mean(name.lower(), titles)
        raise UsageError(
            f"query {_shown(expression)}: kind must be one of {rule}, got {name!r}.{hint}"
        ) from None


def _check_types(table: pd.DataFrame, tree: ast.Expression, expression: str) -> None:
    """Refuse to compare numbers with text: pandas finds nothing then, silently."""
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
                raise UsageError(
                    f"query {_shown(expression)}: {name} holds numbers, not {texts[0]!r}. Leave the"
                    " quotation marks out."
                )
            if numbers and table[name].dtype.kind == "O":
                raise UsageError(
                    f"query {_shown(expression)}: {name} holds text, not the number {numbers[0]!r}:"
                    f" write '{numbers[0]!r}'."
                )


def _constants(part: ast.expr) -> Iterator[object]:
    """The values in a part of a comparison: alone, negated, or in a list."""
    if isinstance(part, ast.Constant):
        yield part.value
    elif isinstance(part, ast.UnaryOp):
        yield from _constants(part.operand)
    elif isinstance(part, (ast.List, ast.Tuple, ast.Set)):
        for element in part.elts:
            yield from _constants(element)
