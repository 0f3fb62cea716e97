from __future__ import annotations

import html.parser
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmdb_reid import Box, Kind, ReIDDataset, Sample, Store, StoreWriter, make_loader
from lmdb_reid.errors import (
    UnknownColumnError,
    UnknownNameError,
    UnknownRowError,
    UnknownSampleError,
    UsageError,
)
from lmdb_reid.store import Samples

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]
IDS = [f"f{at // 4:03d}#{at % 4:03d}" for at in range(8)]
HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;\u202e#000"


class Tags(html.parser.HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store(store_path)


# -- a mapping


def test_a_store_is_a_mapping_of_ids_to_samples(store: Store) -> None:
    assert list(store.keys()) == list(store) == IDS
    assert store.keys() & {"f000#001", "nobody"} == {"f000#001"}
    assert [sample.id for sample in store.values()] == IDS
    assert [(sample_id, sample.row) for sample_id, sample in store.items()] == [
        (sample_id, row) for row, sample_id in enumerate(IDS)
    ]
    assert {**store}["f001#000"] == store["f001#000"]
    sample = store.get("f001#000")
    assert sample is not None
    assert sample.row == 4
    assert store.get("nobody") is None
    assert store.get("nobody", 3) == 3
    assert store.get(0) is None  # type: ignore[call-overload]  # no id


def test_identity_and_hash_are_the_objects(store_path: Path) -> None:
    one, other = Store(store_path), Store(store_path)
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize(
    ("chosen", "rows"),
    [
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, -3), [7, 4, 1]),
        (slice(5, 99), [5, 6, 7]),
        ([3, -1, 3], [3, 7, 3]),
        (np.array([1, 2], np.uint8), [1, 2]),
        (range(2), [0, 1]),
        (["f001#000", "f000#000"], [4, 0]),
        (pd.Index(["f001#000"]), [4]),
        (pd.Series(["f001#001"]), [5]),
        (pd.Series([True, False] * 4), [0, 2, 4, 6]),
        (pd.array([True, False] * 4, dtype="boolean"), [0, 2, 4, 6]),
        (np.arange(8) > 5, [6, 7]),
        ((row for row in (1, 2)), [1, 2]),
        ({"f000#001": 1}.keys(), [1]),
        ([], []),
    ],
)
def test_samples_of_a_store(chosen: Any, rows: list[int], store: Store) -> None:
    samples = store[chosen]
    assert isinstance(samples, Samples)
    assert samples.rows.tolist() == rows
    assert samples.rows.dtype == np.int64
    assert samples.ids == [IDS[row] for row in rows]
    assert [sample.row for sample in samples] == rows
    assert samples.labels.tolist() == [row % 3 for row in rows]


def test_samples_of_a_table(store: Store) -> None:
    table = store.to_pandas()
    assert store[table[table.label == 1]].rows.tolist() == [1, 4, 7]
    assert store[table.label == 1].rows.tolist() == [1, 4, 7]
    assert store[table.reset_index().head(2)].rows.tolist() == [0, 1]


@pytest.mark.parametrize("row", [0, -1, np.int64(3), np.uint8(3)])
def test_a_sample_by_its_row(row: int, store: Store) -> None:
    assert isinstance(store[row], Sample)
    assert store[row] == store.at(row)


@pytest.mark.parametrize(
    "chosen",
    [None, True, 1.5, b"f000#000", [1.5], [[1]], [None], [True], {"a": 1}.items(), object()],
)
def test_what_names_no_samples(chosen: Any, store: Store) -> None:
    with pytest.raises(UsageError):
        store[chosen]


@pytest.mark.parametrize("chosen", [8, -9, [0, 8], [-9]])
def test_rows_that_do_not_exist(chosen: Any, store: Store) -> None:
    with pytest.raises(UnknownRowError):
        store[chosen]


def test_samples_are_indexed_as_a_store_is(store: Store) -> None:
    samples = store[[5, 1, 7]]
    assert samples[0].row == 5
    assert samples[-1].row == 7
    assert samples[1:].rows.tolist() == [1, 7]
    assert samples[[2, 0]].rows.tolist() == [7, 5]
    assert samples[[True, False, True]].rows.tolist() == [5, 7]
    assert samples[["f000#001"]].rows.tolist() == [1]
    for wrong in (3, [3], ["f000#000"], "f000#001"):
        with pytest.raises((IndexError, UsageError)):
            samples[wrong]  # type: ignore[index]


def test_samples_print_plainly(store: Store) -> None:
    assert repr(store[:2]) == "Samples(2: 'f000#000', 'f000#001')"
    assert repr(store.values()) == "Samples(8: 'f000#000', 'f000#001', 'f000#002', ...)"
    assert repr(store[[]]) == "Samples(0)"
    assert repr(store.ids) == "Ids(8: 'f000#000', 'f000#001', 'f000#002', ...)"


def test_samples_show_as_a_sheet_in_a_notebook(store: Store) -> None:
    page = Tags(store[:3]._repr_html_())
    assert len(page.images) == 3
    assert "store.lmdb · 3 of 8 samples" in page.text
    assert "f000#002" in page.text
    assert "no samples" in Tags(store[[]]._repr_html_()).text


def test_a_sheet_of_ten_thousand(store: Store) -> None:
    many = store[np.zeros(10_000, np.int64)]
    page = Tags(many._repr_html_())
    assert len(page.images) == 48
    assert "10,000 samples, the first 48 shown" in page.text
    for draw in (many.sheet, lambda: store.sheet(many), lambda: store.sheet(many.rows)):
        with pytest.raises(UsageError, match="1 to 1,000 samples, got 10,000"):
            draw()


# -- drawing, and questions


def test_samples_at_random_are_the_same_for_one_seed(store: Store) -> None:
    one = store.sample(3, seed=5)
    assert len(one) == 3
    assert one.rows.tolist() == store.sample(3, seed=5).rows.tolist()
    assert sorted(one.rows.tolist()) == one.rows.tolist()
    drawn = {tuple(store.sample(3, seed=seed).rows.tolist()) for seed in range(20)}
    assert len(drawn) > 10
    assert store.sample(99).rows.tolist() == list(range(8))
    assert set(store.sample(2, query="label == 1").rows.tolist()) < {1, 4, 7}
    assert len(store.sample(3, query="label == 99")) == 0
    assert store.head(3).rows.tolist() == [0, 1, 2]
    for wrong in ({"n": 0}, {"n": 1.5}, {"n": True}, {"seed": -1}):
        with pytest.raises(UsageError, match="must be a whole number, at least"):
            store.sample(**wrong)


@pytest.mark.parametrize(
    ("equal", "rows"),
    [
        ({"label": 1}, [1, 4, 7]),
        ({"label": [1, 2], "quarter": "Q1"}, [1, 5, 7]),
        ({"quarter": ["Q0", "nowhere"]}, [0, 2, 4, 6]),
        ({"kind": "person", "label": range(1)}, [0, 3, 6]),
        ({"kind": Kind.BACKGROUND}, []),
        ({"width": 16.0, "label": np.int64(2)}, [2, 5]),
        ({"label": []}, []),
    ],
)
def test_values_of_columns_by_keyword(equal: dict[str, Any], rows: list[int], store: Store) -> None:
    assert store.query(**equal).tolist() == rows
    assert store.query("label >= 0", **equal).dtype == np.int64
    assert store.query("label == 1", **equal).tolist() == [row for row in rows if row % 3 == 1]


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("kind == 'person'", list(range(8))),
        ("'person' == kind", list(range(8))),
        ("kind != 'background' and label == 1", [1, 4, 7]),
        ("label == 1 & kind == 'person'", [1, 4, 7]),
        ("(label == 1) | (kind == 'junk')", [1, 4, 7]),
        ("kind in ['partial', 'Background']", []),
        ("kind == Kind.PERSON and label == 0", [0, 3, 6]),
        (" label == 1 ", [1, 4, 7]),
        ("`kind` == 'person' and `label` == 1", [1, 4, 7]),
        ("quarter.str.contains('q1', case=False)", [1, 3, 5, 7]),
    ],
)
def test_kinds_are_asked_for_by_name(expression: str, rows: list[int], store: Store) -> None:
    assert store.query(expression).tolist() == rows


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("label = 3", "Did you mean 'label == 3'?"),
        ("label=3 and quarter=='Q1'", "Did you mean 'label == 3 and quarter=='Q1''?"),
        ("kind == 'prson'", "Did you mean 'person'?"),
        ("kind == 'player'", "'person' (0), 'background' (1)"),
        ("lable == 3", "Did you mean 'label'?"),
        ("   ", "got an empty text"),
        ("label", "true or false for each sample"),
        (3, "query must be a text"),
    ],
)
def test_questions_that_cannot_be_answered(expression: Any, said: str, store: Store) -> None:
    with pytest.raises(UsageError) as caught:
        store.query(expression)
    assert said in str(caught.value).replace('"', "'")


@pytest.mark.parametrize(
    "equal", [{}, {"label": "3"}, {"quarter": 1}, {"kind": "player"}, {"label": None}]
)
def test_values_that_no_column_can_have(equal: dict[str, Any], store: Store) -> None:
    with pytest.raises(UsageError, match="query"):
        store.query(**equal)


def test_columns_by_attribute(store: Store) -> None:
    assert store.columns.label is store.columns["label"]  # type: ignore[attr-defined]
    assert {"label", "quarter", "keys"} <= set(dir(store.columns))
    assert store.columns._ipython_key_completions_() == list(store.columns)
    assert store._ipython_key_completions_() == IDS
    with pytest.raises(UnknownColumnError, match="Did you mean 'quarter'"):
        store.query(quater="Q1")
    with pytest.raises(UnknownNameError, match="Did you mean 'quarter'"):
        store.columns.quater  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(store.columns, "__array__")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("f000#3", "f000#003"),
        ("f000#0022", "f000#002"),
        ("f0O1#002", "f001#002"),
        ("F001#002", "f001#002"),
        ("f001", "f001#000"),
        ("", "f000#000"),
    ],
)
def test_an_unknown_id_names_the_nearest(wrong: str, near: str, store: Store) -> None:
    for ask in (lambda: store[wrong], lambda: store.row(wrong), lambda: store[[wrong]]):
        with pytest.raises(UnknownSampleError, match=f"Did you mean '{near}'"):
            ask()


def test_the_nearest_of_many_long_ids_is_found_soon(tmp_path: Path, jpeg: Jpegs) -> None:
    path = tmp_path / "a.lmdb"
    with StoreWriter(path) as writer:
        for at in range(3000):
            writer.put(f"{'x' * 480}/{at:04d}#000", jpeg(), {})
    with pytest.raises(UnknownSampleError, match=r"Did you mean '.*x/1234#000'"):
        Store(path)[f"{'x' * 480}/1234#0"]


# -- sheets


def test_what_a_sheet_takes(store: Store) -> None:
    dataset = ReIDDataset(store, [6, 7])
    with make_loader(dataset, 2, num_workers=0) as loader:
        batch = next(iter(loader))
    for chosen in (
        store[[6, 7]],
        [store[6], store[7]],
        store[[6, 7]].rows,
        [6, 7],
        ["f001#002", "f001#003"],
        store.to_pandas().iloc[[6, 7]],
        dataset,
        batch,
        "label == 0 and id == 'f001#002' or id == 'f001#003'",
    ):
        shown = store.sheet(chosen, title="").image
        assert np.array_equal(shown, store.sheet([6, 7], title="").image), chosen
    one = store.sheet([1]).image
    assert np.array_equal(store.sheet("f000#001").image, one)
    assert np.array_equal(store.sheet(store[1]).image, one)
    assert np.array_equal(store.sheet().image, store.sheet(48).image)
    assert store.sheet(3, columns=3).image.shape == store.sheet([0, 1, 2], columns=3).image.shape


def test_a_sheet_shows_persons_unless_asked(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        for at in range(20):
            writer.put(f"f#{at:03d}", jpeg(at), {"label": 1} if at == 13 else {"kind": 1})
    store = Store(tmp_path / "a.lmdb")
    assert np.array_equal(store.sheet(5, title="").image, store.sheet([13], title="").image)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([], "got 0"),
        (0, "must be a whole number, at least 1"),
        ("label == 99", "no sample matches 'label == 99'"),
        ("f000#3", "Did you mean 'f000#003'"),
        ("lable == 3", "Did you mean 'label'"),
        (True, "rows must be"),
    ],
)
def test_sheets_of_nothing(chosen: Any, said: str, store: Store) -> None:
    with pytest.raises((UsageError, UnknownSampleError), match=said):
        store.sheet(chosen)


def test_samples_of_another_store_are_refused(make_store: MakeStore) -> None:
    one, other = Store(make_store("a.lmdb")), Store(make_store("b.lmdb", 9))
    with pytest.raises(UsageError, match="of this store"):
        one.sheet(other[:2])
    assert len(Store(one.path)[one[:2]]) == 2, "the same store, opened again"


# -- a sample


def test_a_sample_gives_its_fields_pixels_and_box(store: Store, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    sample = store["f000#001"]
    assert (sample["quarter"], sample["label"], sample["id"]) == ("Q1", 1, "f000#001")
    assert sample.quarter == "Q1"  # type: ignore[attr-defined]
    assert "quarter" in sample
    assert "quarter" in dir(sample)
    assert (sample.size, sample.shape) == ((32, 16), (32, 16, 3))
    assert np.array_equal(np.asarray(sample), sample.image)
    assert np.asarray(sample, np.float32).dtype == np.float32
    assert np.array_equal(np.asarray(sample.pil), sample.image)
    with image.open(store.file("f000#001")) as opened:
        assert opened.size == (16, 32)
    assert sample.box is None
    with pytest.raises(TypeError, match="not iterable"):
        list(sample)  # type: ignore[call-overload]
    assert pickle.loads(pickle.dumps(sample)) == sample
    assert sample.save(tmp_path / "a.jpg").read_bytes() == sample.jpeg
    for name in ("a.png", "a.webp"):
        with image.open(sample.save(tmp_path / name)) as opened:
            assert opened.size == (16, 32)
    with image.open(sample.save(tmp_path / "a.png")) as opened:
        assert np.array_equal(np.asarray(opened.convert("RGB")), sample.image)
    for name in ("a.txt", "a"):
        with pytest.raises(UsageError, match="must end in"):
            sample.save(tmp_path / name)


def test_a_box_is_that_of_the_record(make_store: MakeStore) -> None:
    sides = {"x": 1.5, "y": 2, "w": 3, "h": 4.0}
    assert Store(make_store(fields=sides))[0].box == Box(1.5, 2.0, 3.0, 4.0)
    assert Store(make_store("b.lmdb", fields=sides | {"h": "tall"}))[0].box is None


def test_a_field_that_does_not_exist(store: Store) -> None:
    sample = store[0]
    with pytest.raises(UnknownColumnError, match="Did you mean 'quarter'"):
        sample["quater"]
    with pytest.raises(UnknownNameError, match="Did you mean 'quarter'"):
        sample.quater  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(UsageError, match="named by a text"):
        sample[0]  # type: ignore[index]


def test_a_store_describes_itself(make_store: MakeStore) -> None:
    store = Store(make_store(count=30))
    told = store.describe()
    assert (told.samples, told.identities, told.images_each) == (30, 3, (10, 10, 10))
    assert told.kinds == {"person": 30}
    assert told.size == (32, 16)
    assert told.bytes == sum(f.stat().st_size for f in store.path.rglob("*") if f.is_file())
    text = repr(told)
    for part in (str(store.path), "30: 30 person", "3; images each: 10 to 10", "32x16", "quarter"):
        assert part in text
    assert store.num_identities == 3
    assert store.classes.tolist() == [0, 1, 2]
    assert store.labels.tolist() == [at % 3 for at in range(30)]


# -- bad input


def test_an_id_with_markup_is_shown_and_never_markup(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put(HOSTILE, jpeg(), {"label": 1, HOSTILE: HOSTILE})
        writer.put("\x9b31m".replace("\x9b", "\u2028") + "#001", jpeg(1), {"note": "\x1b[31mred"})
    store = Store(tmp_path / "a.lmdb")
    for shown in (store, store[0], store[:], store.values()):
        page = Tags(shown._repr_html_())
        assert all("onerror" not in attributes for _, attributes in page.tags)
        assert all(str(image["src"]).startswith("data:") for image in page.images)
        assert "\u202e" not in page.text + str(page.tags)
        shown_as = HOSTILE.replace("\u202e", r"\u202e")
        assert any(str(image["title"]).startswith(shown_as) for image in page.images)
    for printed in map(repr, (store, store[0], store[1], store[:], store.ids, store.describe())):
        assert "\u202e" not in printed
        assert "\u2028" not in printed
        assert "\x1b" not in printed
    assert store.sheet().image.any()
    with pytest.raises(UnknownSampleError) as caught:
        store["\x1b[31m"]
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("read_before", [True, False])
def test_a_store_that_is_removed_while_it_is_shown(read_before: bool, store_path: Path) -> None:
    store = Store(store_path)
    samples = store[:]
    if read_before:
        samples[0]
    shutil.rmtree(store_path)
    for shown in (store, samples):
        page = Tags(shown._repr_html_())
        assert page.images or str(store_path) in page.text
    assert "8 samples" in repr(store)
    store.close()
    assert not Tags(samples._repr_html_()).images


def test_a_row_among_ids_is_no_id(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "numbers.lmdb") as writer:
        for name in ("1", "2", "3", "4"):
            writer.put(name, jpeg(), {"label": 0, "kind": 0})
    with Store(tmp_path / "numbers.lmdb") as store:
        assert [sample.id for sample in store[["1", 1]]] == ["1", "2"]
