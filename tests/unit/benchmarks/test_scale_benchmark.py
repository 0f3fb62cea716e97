"""What is measured at scale: that stores and their twins agree, and that results are told right.

Nothing here measures.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.scale import __main__ as scale
from benchmarks.scale import _data, _loading, _lookup, _tables
from lmdb_reid import Store
from lmdb_reid.codec import decode, header

COUNT = 300
BUILDERS = (_data.store, _data.sqlite, _data.files)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    return _data.store(folder, COUNT)


def test_ids_come_in_key_order() -> None:
    rows = [*range(1200), 99_999, 100_000, 9_999_999]
    ids = [_data.sample_id(row) for row in rows]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(rows)


def test_neighbours_differ_in_bytes_and_pixels() -> None:
    images = [_data.image(row) for row in range(COUNT)]
    assert len(set(images)) == COUNT
    assert header(images[0])[:2] == (8, 8)
    shades = [int(decode(image)[4, 4, 0]) for image in images[: _data.SHADES]]
    assert len(set(shades)) > 200, "JPEG may merge a few of the shades, not most"


def test_the_store_is_a_real_one(store: Path) -> None:
    with Store(store) as opened:
        assert len(opened) == COUNT
        assert list(opened.ids) == [_data.sample_id(row) for row in range(COUNT)]
        assert opened.size == (8, 8)
        assert not opened.verify(deep=True).problems


@pytest.mark.parametrize("name", _lookup.WAYS)
def test_every_way_gives_what_was_stored(name: str, folder: Path) -> None:
    way = _lookup.WAYS[name]
    if way.needs and importlib.util.find_spec(way.needs) is None:
        pytest.skip(f"{way.needs} is not installed")
    with way.opened(way.make(folder, COUNT)) as lookup:
        for row in (0, 1, 150, COUNT - 1):
            assert _lookup._same(lookup(_data.sample_id(row)), row)
            assert not _lookup._same(lookup(_data.sample_id(row)), (row + 1) % COUNT)


def test_a_round_tells_wrong_answers(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    with _lookup._raw(store) as lookup:
        right: Any = (None, lookup)
        monkeypatch.setattr(_lookup, "_asked", [right])
        taken = _lookup._round(COUNT, 0, 50)
        assert taken["p50"] <= taken["p99"]
        shifted: Any = (None, lambda name: lookup(_data.sample_id(7)))
        monkeypatch.setattr(_lookup, "_asked", [shifted])
        with pytest.raises(AssertionError, match="another value"):
            _lookup._round(COUNT, 0, 50)


def test_all_ways_are_asked_in_every_round(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    two = {name: _lookup.WAYS[name] for name in (_lookup.RAW, _lookup.VIEW)}
    missing = _lookup.Way(make=_data.store, opened=_lookup._raw, needs="no_such_package")
    small = _lookup.Way(make=_data.store, opened=_lookup._raw, up_to=10)
    monkeypatch.setattr(_lookup, "WAYS", two | {"missing": missing, "small": small})
    found = _lookup.measure(folder, COUNT, repeats=2, lookups=20)
    assert [len(found[name]) for name in two] == [2, 2]
    assert "no_such_package is not installed" in found["missing"]
    assert "up to 10 keys" in found["small"]


@pytest.mark.parametrize("build", BUILDERS)
def test_what_was_built_is_found_again(build: Any, folder: Path) -> None:
    first = build(folder, COUNT).stat()
    again = build(folder, COUNT).stat()
    assert (first.st_ino, first.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)


@pytest.mark.parametrize("build", BUILDERS)
def test_a_build_cut_short_is_not_taken_for_whole(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = _data.image

    def until_ten(row: int) -> bytes:
        if row == 10:
            raise KeyboardInterrupt
        return image(row)

    monkeypatch.setattr(_data, "image", until_ten)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, 20)
    monkeypatch.undo()
    path = build(tmp_path, 20)
    with next(way for way in _lookup.WAYS.values() if way.make == build).opened(path) as lookup:
        assert all(_lookup._same(lookup(_data.sample_id(row)), row) for row in range(20))


def test_opening_is_told_step_by_step(store: Path) -> None:
    ours, raw = (work(store, COUNT, cold=True) for work in (_loading.opening, _loading.opening_raw))
    assert 0 <= ours.pop("share in the page cache before") <= 1
    assert list(ours) == ["Store(path)", "then the first view[id]", "then the first store[id]"]
    assert list(raw) == ["lmdb.open", "then the first get"]
    assert all(taken > 0 for taken in [*ours.values(), *raw.values()])


def test_epochs_are_begun_after_real_ends(store: Path) -> None:
    assert len(_loading.between_epochs(store, COUNT, repeats=2)) == 2
    steps = _loading.first_batch(store, "threads", cold=False)
    assert steps["both"] == pytest.approx(sum(steps.values()) / 2)
    assert len(_loading.permutation(COUNT, repeats=3)) == 3


def test_the_listed_twin_gives_the_same_pixels(store: Path) -> None:
    listed = _loading.Listed(store)
    assert len(listed) == COUNT
    pixels, label = listed[123]
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), decode(_data.image(123)))
    assert label == 123


def test_memory_of_a_process_adds_up() -> None:
    found = _loading._memory(os.getpid())
    assert found["uss"] == pytest.approx(found["private_clean"] + found["private_dirty"])
    assert 1 < found["private_dirty"] <= found["uss"] <= found["pss"] + 0.1


def test_keys_are_sorted_and_whole() -> None:
    assert scale._keys("1e5,1e3,1e3") == [1_000, 100_000]
    assert scale._ends([1_000, 100_000, 10_000_000]) == [100_000, 10_000_000]
    assert scale._ends([1_000, 10_000]) == [1_000, 10_000]
    assert scale._ends([1_000]) == [1_000]


@pytest.fixture
def result() -> dict[Any, Any]:
    latency = {"raw LMDB get": [2.0, 4.0], "store.view()[id]": [2.5, 8.0]}
    lookup: dict[str, Any] = {
        name: [{"p50": p50, "p99": 9.0} for p50 in rounds] for name, rounds in latency.items()
    }
    worker = {"uss": 90.0, "pss": 80.0, "page_tables": 1.0}
    num_workers = {
        100: [worker | {"private_dirty": 6.0}],
        10_000: [worker | {"private_dirty": dirty} for dirty in (7.0, 9.0)],
    }
    states = {
        state: {"Store(path)": [0.001, 0.060, 0.070], "share in the page cache before": [0.5]}
        for state in ("cold", "warm")
    }
    return {
        "keys": [100, 10_000],
        "lookup": {10_000: lookup | {"HDF5": "skipped: not there"}},
        "memory": dict.fromkeys(scale.ENGINES, num_workers),
        "opening": {10_000: states},
    }


def test_goals_are_judged_by_medians_of_ratios_within_a_round(result: dict[Any, Any]) -> None:
    reached = scale._reached(result)
    lookup, processes, _, warm, _ = reached.values()
    assert (lookup["min"], lookup["max"], lookup["met"]) == (1.25, 2.0, False)
    assert (processes["median"], processes["met"]) == (2.0, True)
    assert (warm["median"], warm["met"]) == (pytest.approx(60), False)
    assert set(reached) == set(scale.GOALS)


def test_only_what_was_measured_is_judged(result: dict[Any, Any]) -> None:
    del result["lookup"], result["memory"]
    assert [name.partition(",")[0] for name in scale._reached(result)] == ["opening", "opening"]


def test_tables_tell_all_of_it(result: dict[Any, Any]) -> None:
    text = "\n".join(_tables.lines(result, scale._reached(result)))
    assert "HDF5                     skipped: not there" in text
    assert "1.62 (1.25 to 2.00)" in text
    assert "100: 6.0 (6.0 to 6.0); 10,000: 8.0 (7.0 to 9.0); gained 2.0" in text
    assert "60.0 (1.0 to 70.0)" in text
    assert text.count("MISSED") == 3


def test_an_unknown_part_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        scale.main(["--parts", "lookup,speed"])
    assert ended.value.code == 2
    assert "no such part: speed" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_of_it_on_a_few_samples(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--keys", "600,900", "--small", "--lookups", "20", "--json", "--dir", str(folder)]
    assert scale.main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["goals"]) == set(scale.GOALS)
    for way in scale.ENGINES:
        assert len(told["memory"][way]["900"]) == _loading.WORKERS
