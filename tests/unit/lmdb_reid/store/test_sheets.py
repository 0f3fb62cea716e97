"""What stands beside samples on a sheet and on a card, and in which order they come."""

from __future__ import annotations

import html.parser
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmdb_reid import Kind, Store, StoreWriter
from lmdb_reid.errors import UnknownColumnError, UsageError
from lmdb_reid.pictures import Picture, contact_sheet
from lmdb_reid.schema import Roles
from lmdb_reid.store import Samples, _captions, _samples

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]
Drawn = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path, jpeg: Jpegs) -> Store:
    """Negatives before persons; two cameras, one of them without a name."""
    roles = Roles(camera="cam", group=("quarter",), time=("half", "frame"))
    with StoreWriter(tmp_path / "games.lmdb", roles=roles) as writer:
        for at in range(12):
            who = {"kind": 1 + at % 2} if at < 4 else {"label": 7 - at % 2}
            camera = {"cam": "side"} if at % 4 else {}
            record = {**who, **camera, "quarter": "Q1-000", "half": 1, "frame": at}
            writer.put(f"f{at:03d}#000", jpeg(at), record)
    return Store(tmp_path / "games.lmdb")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """What the last sheet was drawn of."""
    last: Drawn = {}

    def note(images: Any, captions: Any, **more: Any) -> Picture:
        last.update(more, captions=captions)
        return contact_sheet(images, captions, **more)

    monkeypatch.setattr(_samples.pictures, "contact_sheet", note)
    return last


def test_captions_say_who_where_and_when(store: Store) -> None:
    assert store[[4, 5, 0]].captions() == [
        "label 7 · Q1-000 · f4",
        "label 6 · Q1-000 · side · f5",
        "background · Q1-000 · f0",
    ]


def test_captions_without_roles_have_the_end_of_the_id(make_store: MakeStore) -> None:
    assert Store(make_store())[:2].captions() == ["label 0 · f000#000", "label 1 · f000#001"]


def test_numbers_have_their_column_s_name(tmp_path: Path, jpeg: Jpegs) -> None:
    roles = Roles(camera="camera", time=("at",))
    with StoreWriter(tmp_path / "a.lmdb", roles=roles) as writer:
        writer.put("a", jpeg(), {"label": 1, "camera": 3, "at": 1234567})
        writer.put("b", jpeg(), {"label": -1, "camera": 3})
    captions = Store(tmp_path / "a.lmdb")[:].captions()
    assert captions == ["label 1 · camera 3 · f1234567", "person · camera 3"]


def test_a_sheet_of_a_query_is_grouped_by_label(store: Store, drawn: Drawn) -> None:
    store.sheet("label >= 0")
    assert drawn["title"] == "games.lmdb · label >= 0 · 8 of 8"
    assert drawn["groups"] == ["label 6 (4)"] * 4 + ["label 7 (4)"] * 4
    assert drawn["captions"][0] == "Q1-000 · side · f5", "who is in the heading"
    assert drawn["edges"] == [_captions.COLOURS[Kind.PERSON]] * 8
    assert drawn["legend"] == {"8 person": _captions.COLOURS[Kind.PERSON]}


def test_few_of_many_labels_come_with_persons_first(store: Store, drawn: Drawn) -> None:
    store.sheet("frame < 6")
    assert list(drawn["groups"]) == []
    assert [text.split(" · ")[0] for text in drawn["captions"]] == [
        *("label 7", "label 6", "background", "partial", "background", "partial")
    ]
    assert list(drawn["legend"]) == ["2 person", "2 background", "2 partial"]
    assert len({*drawn["edges"]}) == 3


def test_samples_that_were_named_keep_their_order(store: Store, drawn: Drawn) -> None:
    for named in ([9, 0, 4], ["f009#000", "f000#000", "f004#000"], store[[9, 0, 4]]):
        store.sheet(named)
        assert [text.split(" · ")[-1] for text in drawn["captions"]] == ["f9", "f0", "f4"]
        assert drawn["title"] == "games.lmdb · 3 of 12 samples"


def test_samples_at_random_are_persons(store: Store, drawn: Drawn) -> None:
    store.sheet(5)
    assert drawn["title"] == "games.lmdb · persons · 5 of 8"
    store.sample(5, query="kind != 'person'").sheet(by=None, title="mine")
    assert (drawn["title"], list(drawn["groups"]), len(drawn["captions"])) == ("mine", [], 4)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("kind", ["person (8)", "background (2)", "partial (2)"]),
        ("label", ["label 6 (4)", "label 7 (4)", "background (2)", "partial (2)"]),
        ("identity", ["label 6 (4)", "label 7 (4)", "background (2)", "partial (2)"]),
        ("camera", ["none (3)", "side (9)"]),
        ("cam", ["none (3)", "side (9)"]),
        ("group", ["Q1-000 (12)"]),
        ("half", ["1 (12)"]),
        ("width", ["width 16 (12)"]),
    ],
)
def test_groups_by_a_column_or_role(by: str, groups: list[str], store: Store, drawn: Drawn) -> None:
    store[:].sheet(by=by)
    assert list(dict.fromkeys(drawn["groups"])) == groups


def test_numbers_of_groups_are_in_order(tmp_path: Path, jpeg: Jpegs, drawn: Drawn) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        for at in range(12):
            writer.put(f"{at:02d}", jpeg(), {"label": 11 - at})
    Store(tmp_path / "a.lmdb")[:].sheet(by="label")
    assert drawn["groups"] == [f"label {at} (1)" for at in range(12)]


@pytest.mark.parametrize(
    ("by", "error", "said"),
    [
        ("camra", UnknownColumnError, "Did you mean 'camera'"),
        (3, UsageError, "by must be the name of a column or role, got 3"),
        ("track", UsageError, "by must be a role that a column of the store has, got 'track'"),
    ],
)
def test_groups_by_nothing_that_there_is(
    by: Any, error: type[Exception], said: str, store: Store
) -> None:
    with pytest.raises(error, match=said):
        store.sheet(by=by)


def test_a_title_counts_what_is_named_twice(store: Store) -> None:
    assert Samples(store, np.zeros(20, np.int64)).title == "games.lmdb · 20 samples"


# -- the card


class Card(html.parser.HTMLParser):
    """The texts, pictures and bars of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.bars, self.images, self.styles = "", [], 0, ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.styles += f"{given.get('style')};"
        self.images += tag == "img"
        if tag == "rect":
            self.bars.append(float(given["height"] or 0))

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_the_card_has_a_bar_for_each_identity(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        for at in range(12):
            writer.put(f"{at:02d}", jpeg(at), {"label": 0 if at < 8 else 1 + at % 2})
        writer.put("99", jpeg(99), {"kind": 1})
    card = Card(Store(tmp_path / "a.lmdb")._repr_html_())
    assert card.bars == [48.0, 12.0, 12.0], "the most images first, to one scale"
    assert "images of each identity: 2 to 8, median 2" in card.text
    assert card.images == 12, "persons alone"


def test_a_card_of_many_identities_is_small(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        for at in range(200):
            writer.put(f"{at:03d}", jpeg(0), {"label": at})
    assert len(Card(Store(tmp_path / "a.lmdb")._repr_html_()).bars) == 80


def test_a_card_without_identities(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb") as writer:
        writer.put("a", jpeg(), {"kind": 1})
    card = Card(Store(tmp_path / "a.lmdb")._repr_html_())
    assert (card.bars, card.images) == ([], 1)


def test_texts_have_the_colour_of_the_notebook(store: Store) -> None:
    for shown in (store, store[:3], store[0]):
        styles = Card(shown._repr_html_()).styles.replace(" ", "")
        assert ";color:" not in styles and not styles.startswith("color:")
        assert "background:#" not in styles


def test_a_very_long_text_is_cut(tmp_path: Path, jpeg: Jpegs) -> None:
    with StoreWriter(tmp_path / "a.lmdb", roles=Roles(camera="cam")) as writer:
        writer.put("a", jpeg(), {"label": 1, "cam": "x" * 200_000})
    store = Store(tmp_path / "a.lmdb")
    for shown in (store, store[:], store[0]):
        assert len(shown._repr_html_()) < 8_000
    assert store.sheet().image.shape[1] == 300


def test_the_card_of_a_store_that_was_removed_says_so(store: Store) -> None:
    shutil.rmtree(store.path)
    card = Card(store._repr_html_())
    assert (card.bars, card.images) == ([], 0)
    assert str(store.path) in card.text.replace(str(store.path), "", 1), "in the error too"
    assert card.text.count("games.lmdb") <= 4, "once, not for each picture"
    assert "12" in card.text
