from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid.codec import encode
from lmdb_reid.schema import Roles
from lmdb_reid.store import Store, StoreWriter

PAGE = Path(__file__).parents[2] / "docs" / "splits.md"


def test_the_page_s_code_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s.lmdb"
    with StoreWriter(path, roles=Roles(camera="camera")) as writer:
        for number in range(48):
            pixels = np.random.default_rng(number).integers(0, 255, (32, 16, 3), np.uint8)
            record = {"label": number // 6, "camera": number % 2, "match": "abcd"[number // 2 % 4]}
            writer.put(f"s{number:02d}", encode(pixels), record)
        writer.seal()
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 3
    with Store(path) as store:
        names: dict[str, Any] = {"store": store}
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
