"""Values of records as the cells of a csv, and back, none of them changed.

A number, true, false, null, a list and a map stand in a cell as JSON has them. A text stands there
as it is, unless it would be read as something else: then it is a JSON string, in quotes. An empty
cell is no value at all.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from lmdb_reid.errors import InvalidSampleError

_BYTES = "bytes:base64"
"""The one name in a map that stands for bytes, which JSON does not have."""


def cell_text(value: Any) -> str:
    """What stands in a cell for a value of a record.

    Raises:
        InvalidSampleError: it is a map that would be read as bytes.
    """
    if isinstance(value, str):
        plain = value.isprintable() and value == value.strip() and value != ""
        return value if plain and not _is_json(value) else json.dumps(value)
    return json.dumps(_plain(value), ensure_ascii=False)


def cell_value(text: str) -> Any:
    """The value that a cell which is not empty stands for."""
    try:
        return json.loads(text, object_hook=_map)
    except (ValueError, RecursionError):
        return text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        if value.keys() == {_BYTES}:
            raise InvalidSampleError(f"a map of {_BYTES!r} alone cannot be a cell of a csv")
        return {name: _plain(each) for name, each in value.items()}
    return value


def _map(pairs: dict[str, Any]) -> Any:
    if pairs.keys() == {_BYTES}:
        return base64.b64decode(pairs[_BYTES])
    return pairs
