from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lmdb_reid import Store, StoreWriter, codec

PAGE = Path(__file__).parents[2] / "docs" / "ranking.md"


def test_the_page_s_code_runs_as_it_stands(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", codec.encode(np.zeros((8, 8, 3), np.uint8)), {"label": 0})
        writer.seal()
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 3
    names: dict[str, Any] = {
        "store": Store(tmp_path / "a.lmdb"),
        "array": np.ones((1, 4), np.float32),
        "rows": np.array([0]),
    }
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert np.array_equal(names["found"].array, names["array"])
