"""The notebook runs, and what its cells show is sound: no Jupyter is needed to find that out."""

from __future__ import annotations

import ast
import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from builders import AtmaCup, build
from lmdb_reid import Sample, Store, StoreWriter, codec
from lmdb_reid.pictures import Picture

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "look_around.py"
NEVER_CLOSED = {"br", "hr", "img", "input", "link", "meta"}
VALUE = r"""(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=`]+))?"""
TAG = re.compile(rf"<(?:/[a-z]\w*\s*|[a-z]\w*(?:\s+[\w:-]+{VALUE})*\s*/?)>", re.IGNORECASE)


class Page(HTMLParser):
    """Reads HTML: collects pictures and text, refuses tags that do not end, or do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        # Versions of the parser differ in what they make of a tag that does not end.
        assert "<" not in TAG.sub("", text), "a tag does not end"
        self.open: list[str] = []
        self.text = ""
        self.images: list[dict[str, str | None]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in NEVER_CLOSED:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> opens nowhere"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"

    def pictures(self) -> list[np.ndarray]:
        """The pixels of every picture, all of which carry their own bytes."""
        head = "data:image/jpeg;base64,"
        sources = [image["src"] or "" for image in self.images]
        assert all(source.startswith(head) for source in sources)
        data = [base64.b64decode(source[len(head) :], validate=True) for source in sources]
        return [codec.decode(jpeg) for jpeg in data]


def cells() -> list[tuple[str, str]]:
    """(kind, source) of each cell; kind is "code" or "markdown"."""
    parts = re.split(r"^# %%(.*)\n", NOTEBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    kinds = {"": "code", " [markdown]": "markdown"}
    return [(kinds[mark], text) for mark, text in zip(parts[1::2], parts[2::2], strict=True)]


def shown_by(source: str, namespace: dict[str, Any]) -> Any:
    """Runs a cell; what its last line, an expression, gives."""
    tree = ast.parse(source, str(NOTEBOOK))
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), f"this cell shows nothing:\n{source}"
    exec(compile(tree, str(NOTEBOOK), "exec"), namespace)
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), namespace)


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the sample game: fewer frames than the demo's, of the same names."""
    path = tmp_path_factory.mktemp("stores") / "demo.lmdb"
    sample = ROOT / "data" / "sample"
    build(AtmaCup(sample / "train_meta.csv", sample / "images"), path)
    return path


@pytest.fixture(scope="module")
def shown(store_path: Path) -> list[Any]:
    """What each code cell shows, run in order in one namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMDB_REID_DEMO_STORE", str(store_path))
        values = [shown_by(text, namespace) for kind, text in cells() if kind == "code"]
    yield values
    namespace["store"].close()


def of_type(values: list[Any], kind: type) -> list[Any]:
    found = [value for value in values if isinstance(value, kind)]
    assert found, f"no cell shows a {kind.__name__}"
    return found


def test_markdown_cells_are_comments_only() -> None:
    texts = [text for kind, text in cells() if kind == "markdown"]
    assert texts
    for text in texts:
        assert all(line.startswith("# ") or line in ("#", "") for line in text.splitlines()), text


def test_nothing_but_comments_stands_before_the_first_cell() -> None:
    head = NOTEBOOK.read_text(encoding="utf-8").split("# %%")[0]
    assert all(line.startswith("#") or not line for line in head.splitlines())


def test_every_code_cell_shows_something(shown: list[Any]) -> None:
    assert len(shown) >= 10
    assert all(value is not None for value in shown)


def test_the_store_shows_its_counts_and_a_strip(shown: list[Any]) -> None:
    (store,) = of_type(shown, Store)
    page = Page(store._repr_html_())
    assert {"samples", "252", "person", "120", "background", "12", "partial"} <= set(
        page.text.split("\n")
    )
    pictures = page.pictures()
    assert [picture.shape for picture in pictures] == [(256, 128, 3)] * 12
    persons = store[store.query(kind="person")]
    np.testing.assert_array_equal(pictures[0], persons[0].image)
    np.testing.assert_array_equal(pictures[-1], persons[-1].image)
    assert "252 samples" in repr(store)


def test_the_sample_shows_its_picture_label_and_record(shown: list[Any]) -> None:
    (sample,) = of_type(shown, Sample)
    page = Page(sample._repr_html_())
    (picture,) = page.pictures()
    np.testing.assert_array_equal(picture, sample.image)
    told = page.text.split("\n")
    assert sample.id in told
    assert told[told.index("label") + 1] == "3"
    assert set(sample.record) <= set(told)
    assert any(value == dict(sample.record) for value in shown if isinstance(value, dict))


def test_an_id_of_any_characters_is_shown_as_it_is(tmp_path: Path) -> None:
    odd = 'a&b <"c">#000'
    with StoreWriter(tmp_path / "odd.lmdb") as writer:
        writer.put(odd, codec.encode(np.zeros((8, 8, 3), np.uint8)), {"label": 0, "<i>": "</td>"})
        writer.seal()
    with Store(tmp_path / "odd.lmdb") as store:
        of_sample, of_store = Page(store[odd]._repr_html_()), Page(store._repr_html_())
    assert {odd, "<i>", "</td>"} <= set(of_sample.text.split("\n"))
    assert [image["title"] for image in of_store.images] == [f"{odd} label 0"]
    assert [image["title"] for image in of_sample.images] == [odd]


def test_pictures_are_jpegs_of_what_they_hold(shown: list[Any]) -> None:
    pictures = of_type(shown, Picture)
    assert len(pictures) == 3  # of a player, of negatives, of a batch
    for picture in pictures:
        decoded = codec.decode(picture._repr_jpeg_())
        assert decoded.shape == picture.image.shape
        apart = np.abs(decoded.astype(int) - picture.image.astype(int)).mean()
        assert apart < 4  # levels: JPEG's loss, not another picture
        assert decoded.std() > 20  # and not an empty one


def test_the_tables_are_the_stores(shown: list[Any], store_path: Path) -> None:
    head, means = of_type(shown, pd.DataFrame)
    with Store(store_path) as store:
        pd.testing.assert_frame_equal(head, store.to_pandas().head())
    assert Page(head._repr_html_()).open == []
    assert len(means) == 20  # ten players, two cameras
    assert (means > 0).all(axis=None)


def test_the_batch_is_one_of_24_players(shown: list[Any]) -> None:
    assert ((24, 3, 256, 128), torch.uint8) in [
        (tuple(value[0]), value[1])
        for value in shown
        if isinstance(value, tuple) and value[1:] == (torch.uint8,)
    ]


def test_the_last_cell_finds_the_store_sound(shown: list[Any]) -> None:
    assert shown[-1].ok
    assert shown[-1].samples == 252


@pytest.mark.parametrize(
    "broken",
    ["<b>", "</b>", "<b><i></b></i>", '<b title="<b>">', '<td title="a>b</td>', "<b", "a < b"],
)
def test_broken_html_would_be_noticed(broken: str) -> None:
    with pytest.raises(AssertionError):
        Page(broken)
