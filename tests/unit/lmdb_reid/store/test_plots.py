from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid import Store, StoreWriter
from lmdb_reid.errors import MissingExtraError, UnknownNameError, UsageError
from lmdb_reid.schema import Roles

Jpegs = Callable[..., bytes]


@pytest.fixture
def pyplot() -> Iterator[Any]:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture
def store(tmp_path: Path, jpeg: Jpegs) -> Store:
    """Three identities with 9, 6 and 3 images, two cameras, boxes 20 to 37 pixels high."""
    roles = Roles(camera="angle", group=("quarter",), time=("frame",))
    labels = [0] * 9 + [1] * 6 + [2] * 3
    with StoreWriter(tmp_path / "a.lmdb", roles=roles) as writer:
        for at, label in enumerate(labels):
            record = {
                "label": label,
                "angle": "ab"[at % 2],
                "quarter": "Q1",
                "frame": at,
                "h": 20 + at,
            }
            writer.put(f"f{at:03d}#000", jpeg(at), record)
        writer.put("f999#000", jpeg(99), {"kind": 1})
    return Store(tmp_path / "a.lmdb")


def test_a_bar_for_each_identity_the_most_images_first(pyplot: Any, store: Store) -> None:
    axes = store.plot.identities()
    assert [bar.get_height() for bar in axes.patches] == [9, 6, 3]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "2"]
    assert axes.get_title() == "3 identities: 3 to 9 images each, median 6"
    _, mine = pyplot.subplots()
    assert store.plot.identities(axes=mine) is mine
    assert store.plot().get_title() == axes.get_title()


def test_heights_of_boxes(pyplot: Any, store: Store) -> None:
    axes = store.plot.sizes()
    assert sum(bar.get_height() for bar in axes.patches) == 18
    assert "20 to 37 pixels high" in axes.get_title()
    assert "boxes" in axes.get_xlabel()


def test_heights_of_images_where_there_are_no_boxes(
    pyplot: Any, make_store: Callable[..., Path]
) -> None:
    axes = Store(make_store()).plot.sizes()
    assert axes.get_title() == "8 images of persons: 32 to 32 pixels high, median 32"


def test_when_identities_are_seen(pyplot: Any, store: Store) -> None:
    axes = store.plot.timeline()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0", "1", "2"]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["a", "b"]
    points = np.concatenate([dots.get_offsets() for dots in axes.collections])
    assert sorted(points[:, 0].tolist()) == list(range(18))
    one = store.plot.timeline(1)
    assert [text.get_text() for text in one.get_yticklabels()] == ["1"]
    with pytest.raises(UsageError, match="label must be one"):
        store.plot.timeline(7)


def test_many_identities_are_an_outline(pyplot: Any, tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "b.lmdb") as writer:
        for at in range(100):
            writer.put(f"f{at:03d}", jpeg(0), {"label": at})
    store = Store(tmp_path / "b.lmdb")
    assert not store.plot.identities().patches
    assert len(store.plot.timeline().get_yticks()) == 40


def test_a_store_without_identities(pyplot: Any, tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "b.lmdb") as writer:
        writer.put("f#000", jpeg(0), {"kind": 1})
    plot = Store(tmp_path / "b.lmdb").plot
    for draw in (plot.identities, plot.timeline):
        with pytest.raises(UsageError, match="has no identities"):
            draw()
    with pytest.raises(UsageError, match="no persons"):
        plot.sizes()


def test_charts_need_matplotlib(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (store.plot.identities, store.plot.sizes, store.plot.timeline):
        with pytest.raises(MissingExtraError, match=r"pip install .lmdb_reid\[plot\]"):
            draw()


def test_names_of_other_charts(store: Store) -> None:
    with pytest.raises(UnknownNameError, match=r"Use store\.plot\.identities"):
        store.plot.hist()  # type: ignore[attr-defined]
    with pytest.raises(UnknownNameError, match="Did you mean 'timeline'"):
        store.plot.timelin()  # type: ignore[attr-defined]


def test_names_of_cameras_are_texts_and_no_formulas(
    pyplot: Any, tmp_path: Path, jpeg: Jpegs
) -> None:
    names = ["$\\frac{$", "_hidden", "a\u202eb", "side"]
    with StoreWriter(tmp_path / "c.lmdb", roles=Roles(camera="cam")) as writer:
        for at in range(8):
            writer.put(f"f{at}", jpeg(0), {"label": 0, "cam": names[at % 4]})
    axes = Store(tmp_path / "c.lmdb").plot.timeline()
    axes.figure.canvas.draw()
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(shown) == sorted(["$\\frac{$", "_hidden", "a\\u202eb", "side"])
