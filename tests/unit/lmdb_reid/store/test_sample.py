from __future__ import annotations

import base64
import dataclasses
import html.parser
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid import Kind, Sample, Store, StoreWriter, codec
from lmdb_reid.errors import CorruptSampleError

Jpegs = Callable[..., bytes]
MakeStore = Callable[..., Path]


class Page(html.parser.HTMLParser):
    """What a browser would see: texts, and the attributes of images."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_sample_owns_all_it_holds(store_path: Path, jpeg: Jpegs) -> None:
    with Store(store_path) as store:
        sample = store["f000#001"]
    assert type(sample.jpeg) is bytes
    assert sample.jpeg == jpeg(1)
    assert (sample.id, sample.row, sample.label, sample.kind) == ("f000#001", 1, 1, Kind.PERSON)
    assert sample.record == {"label": 1, "kind": 0, "quarter": "Q1"}
    assert np.array_equal(sample.image, codec.decode(jpeg(1)))


def test_a_sample_is_a_value(store_path: Path) -> None:
    store = Store(store_path)
    sample = store.at(1)
    assert sample == store.at(1)
    assert sample != store.at(2)
    assert pickle.loads(pickle.dumps(sample)) == sample
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.label = 3  # type: ignore[misc]


def test_its_pixels_are_the_callers(store_path: Path) -> None:
    sample = Store(store_path).at(0)
    sample.image[:] = 0
    assert sample.image.any()


def test_what_it_prints(store_path: Path, jpeg: Jpegs) -> None:
    told = f"Sample('f000#001', label=1, kind=person, 32x16, {len(jpeg(1))} bytes)"
    assert repr(Store(store_path).at(1)) == told


def test_an_image_that_cannot_be_decoded_names_its_sample(jpeg: Jpegs) -> None:
    sample = Sample(id="f#1", row=0, label=-1, kind=Kind.PERSON, record={}, jpeg=jpeg(0)[:-60])
    with pytest.raises(CorruptSampleError, match=r"^f#1: "):
        _ = sample.image


def test_it_shows_its_picture_with_label_and_record(store_path: Path, jpeg: Jpegs) -> None:
    page = Page(Store(store_path).at(1)._repr_html_())
    (image,) = page.images
    assert image["src"] == "data:image/jpeg;base64," + base64.b64encode(jpeg(1)).decode()
    for text in ("f000#001", "label", "1", "kind", "person", "quarter", "Q1"):
        assert text in page.texts


def test_no_text_of_a_source_becomes_html(tmp_path: Path, jpeg: Jpegs) -> None:
    hostile = "<script>\"&amp;'</script>"
    with StoreWriter(tmp_path / "a<b>.lmdb") as writer:
        writer.put(hostile, jpeg(), {hostile: hostile, "n": [hostile]})
        writer.seal()
    store = Store(tmp_path / "a<b>.lmdb")
    for shown in (store.at(0), store):
        page = Page(shown._repr_html_())
        assert "script" not in page.tags
        assert "b" not in page.tags or page.tags.count("b") == 1
        (image,) = page.images
        assert str(image["title"]).startswith(hostile), "shown as it is, escaped once"
    page = Page(store.at(0)._repr_html_())
    assert hostile in page.texts


def test_a_store_shows_its_counts_and_a_strip(make_store: MakeStore) -> None:
    page = Page(Store(make_store(count=30))._repr_html_())
    assert 1 < len(page.images) <= 12
    for text in ("samples", "30", "person", "identities", "3"):
        assert text in page.texts
    titles = [re.match(r"f\d{3}#\d{3}", str(image["title"])) for image in page.images]
    assert all(titles)
    assert len({title[0] for title in titles if title}) == len(titles)
    small = Page(Store(make_store("b.lmdb", count=2))._repr_html_())
    assert len(small.images) == 2
