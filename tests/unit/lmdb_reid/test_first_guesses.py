"""What first guesses give: first_guesses.txt has the calls, and what is to come of each."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import lmdb_reid
import training
from lmdb_reid import Kind, LRUCache, PKSampler, ReIDDataset, Store, StoreWriter, make_loader
from lmdb_reid.schema import Roles

Jpegs = Callable[..., bytes]

IMPORTED = {
    "Kind": Kind,
    "LRUCache": LRUCache,
    "PIL": PIL,
    "PKSampler": PKSampler,
    "ReIDDataset": ReIDDataset,
    "Store": Store,
    "dataclasses": dataclasses,
    "io": io,
    "lmdb_reid": lmdb_reid,
    "make_loader": make_loader,
    "np": np,
    "torch": torch,
    "training": training,
}
TABLE = Path(__file__).with_name("first_guesses.txt")
GUESSES = [
    tuple(part.strip() for part in line.split(" -> ", 1))
    for line in TABLE.read_text().splitlines()
    if line and not line.startswith("#")
]
CHARTS = ("store.plot()", "store.timeline(2)")
# What Python or numpy says of objects that are theirs.
NOT_OURS = ("[each.label for each in store]", "store[ID].image.show()", "Store()")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, jpeg: Jpegs) -> Path:
    """Two quarters, each with two frames of four persons and a background."""
    path = tmp_path_factory.mktemp("guesses") / "demo.lmdb"
    with StoreWriter(path, roles=Roles(camera="angle", group=("quarter",), time=("frame",))) as w:
        for at in range(4):
            quarter, frame = f"Q{at // 2}-000", at % 2
            where = {"quarter": quarter, "angle": "side", "session": 0, "frame": frame}
            for box in range(5):
                kind = {"label": box} if box < 4 else {"kind": 1}
                sides = {"x": 10.0 * box, "y": 5.0, "w": 20.0, "h": 40.0 + box}
                name = f"{quarter}__side__00__{frame:02d}#{box:03d}"
                w.put(name, jpeg(at * 5 + box), {**kind, **where, **sides})
    return path


@pytest.fixture
def names(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What the calls may name; a viewer shows nothing."""
    monkeypatch.setattr(PIL.Image.Image, "show", lambda *_: None)
    store = Store(sealed)
    dataset = ReIDDataset(store, "label >= 0", labels="relabel")
    closed = Store(sealed)
    closed.close()
    with make_loader(dataset, 4, num_workers=1) as loader:
        yield {
            **IMPORTED,
            "ID": store.ids[3],
            "OTHER": store.ids[8],
            "batch": next(iter(loader)),
            "closed": closed,
            "dataset": dataset,
            "folder": tmp_path,
            "loader": loader,
            "path": sealed,
            "store": store,
        }


def close(given: object) -> None:
    if isinstance(given, lmdb_reid.Loader):
        given.close()


def test_the_table_has_what_it_is_to_have() -> None:
    assert len(GUESSES) == len({guess for guess, _ in GUESSES}) >= 225
    assert sum(outcome == "works" for _, outcome in GUESSES) >= 150


@pytest.mark.parametrize(("guess", "outcome"), GUESSES, ids=[guess for guess, _ in GUESSES])
def test_a_first_guess(guess: str, outcome: str, names: dict[str, Any]) -> None:
    if guess in CHARTS and importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    if 'device="cuda"' in guess and torch.cuda.is_available():
        pytest.skip("there is a GPU here, and it works")
    if outcome == "works":
        close(eval(guess, names))
        return
    with pytest.raises(Exception) as caught:
        eval(guess, names)
    assert outcome in str(caught.value)
    if guess not in NOT_OURS:
        assert isinstance(caught.value, lmdb_reid.LmdbReidError)
