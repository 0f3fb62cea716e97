"""JSON of others: nesting is counted before anything is decoded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lmdb_reid._json import MAX_DEPTH, check_nesting, parse


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + "1" + closing * depth).encode()


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = [*value.values()]
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@pytest.mark.parametrize(
    "make",
    [
        nested,
        lambda depth: nested(depth, '{"a":', "}"),
        lambda depth: nested(depth, '["]]]]", "}{[[",', "]"),
        lambda depth: nested(depth, r'{"\\\"]}\\":"\\", "\"]": "\\\\","b":', "}"),
        lambda depth: nested(depth, ' [ "é]" ,\n', " ] "),
    ],
)
def test_lists_and_maps_may_be_nested_so_deep_and_no_deeper(make: Callable[[int], bytes]) -> None:
    assert depth_of(parse(make(MAX_DEPTH))) == MAX_DEPTH
    with pytest.raises(ValueError, match=f"nested deeper than {MAX_DEPTH}"):
        parse(make(MAX_DEPTH + 1))


def test_brackets_in_texts_and_beside_each_other_are_no_nesting() -> None:
    value = {"a": "[" * 100, '"[{': ['"' + "{" * 100, "\\"], "b": [[[]]] * 100}
    assert parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize("data", [b"", b"[", b"]" * 99, b'"[' * 99, b"\\" * 99 + b"[" * 9, b"[1}"])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse(data)


def test_drawn_documents_are_as_deep_as_they_are_decoded() -> None:
    draw = np.random.default_rng(0)
    texts = ['"', "\\", "]", "[{", '\\"', "\\\\", "a", "}{", ""]

    def value(left: int) -> Any:
        kind = draw.integers(0, 3) if left else 2
        text = "".join(draw.choice(texts, 4).tolist())
        if kind == 2:
            return text
        inner = [value(left - 1) for _ in range(int(draw.integers(0, 4)))]
        return inner if kind else {f"{text}{at}": each for at, each in enumerate(inner)}

    for _ in range(300):
        one = value(6)
        data = json.dumps(one, ensure_ascii=bool(draw.integers(0, 2))).encode()
        depth = depth_of(one)
        check_nesting(data, depth)
        if depth:
            with pytest.raises(ValueError, match="nested deeper"):
                check_nesting(data, depth - 1)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory need Linux")
def test_deep_nesting_needs_no_stack() -> None:
    """Where the system gives none, Python's own decoder dies by a signal."""
    script = (
        "import pathlib, resource\n"
        "from lmdb_reid._json import parse\n"
        "data, spare = b'[' * 20_000, bytearray(1 << 19)\n"
        "pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(),) * 2)\n"
        "del spare\n"
        "try:\n"
        "    parse(data)\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"it is nested deeper than {MAX_DEPTH}")
