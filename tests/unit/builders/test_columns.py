"""Texts and cells in a few arrays."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.columns import Coded, TextMap, Texts, cells_of, column_of, part_of

texts = st.lists(st.text(max_size=9))


@given(texts, st.slices(9))
def test_texts_are_a_sequence_of_them(given_texts: list[str], some: slice) -> None:
    found = Texts.of(given_texts)
    assert list(found) == given_texts
    assert [found[at] for at in range(len(found))] == given_texts
    assert list(found[some]) == given_texts[some]
    assert list(found[some][:2]) == given_texts[some][:2]
    assert found == Texts.of(given_texts)
    assert list(pickle.loads(pickle.dumps(found[some]))) == given_texts[some]
    in_order = sorted({*given_texts}, key=lambda text: text.encode("utf-8", "surrogatepass"))
    assert Texts.of(in_order).ascending()
    assert found.ascending() == (given_texts == in_order)
    for text in (*given_texts, "no such text"):
        at = Texts.of(in_order).place(text)
        assert at == (in_order.index(text) if text in in_order else -1)


def test_many_texts() -> None:
    many = [f"frame {number:07d}" for number in range(40_000)]
    found = Texts.of(many)
    assert list(found) == many
    assert list(found[16_000:33_000]) == many[16_000:33_000]
    assert found.ascending()
    assert not Texts.of(many[:16_385] + many[16_384:]).ascending()
    assert found[-1] == many[-1]
    with pytest.raises(IndexError):
        found[40_000]
    assert len(pickle.dumps(found[:10])) < 1000


def test_texts_that_are_no_utf_8() -> None:
    odd = ["a\udc80", "\ud800", "\U0001f3c0"]
    assert list(Texts.of(odd)) == odd


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_a_text_map_is_a_mapping(pairs: dict[str, str]) -> None:
    found = TextMap(pairs.items())
    assert dict(found) == pairs
    assert {key: found[key] for key in reversed([*found])} == pairs
    copy = pickle.loads(pickle.dumps(found))
    assert copy == pairs
    with pytest.raises(KeyError):
        found["no such key"]


cells = st.lists(
    st.none() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=3) | st.booleans()
)
numbers = st.lists(st.floats(allow_nan=False)) | st.lists(st.integers(-(1 << 63), (1 << 63) - 1))


@given(cells | numbers)
def test_a_column_gives_back_what_went_in(given_cells: list[object]) -> None:
    column = column_of(given_cells)
    found = cells_of(column)
    assert found == given_cells
    assert [*map(type, found)] == [*map(type, given_cells)]
    assert cells_of(part_of(column, slice(1, 3))) == given_cells[1:3]


def test_plain_numbers_are_an_array() -> None:
    assert isinstance(column_of([1, 2]), np.ndarray)
    assert isinstance(column_of([1.5]), np.ndarray)
    mixed = column_of([7, None, "a", 7])
    assert isinstance(mixed, Coded)
    assert mixed.codes.tolist() == [0, -1, 1, 0]
    assert cells_of(np.array([1.0, np.nan])) == [1.0, None]
