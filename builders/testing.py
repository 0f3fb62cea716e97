"""The laws of sources and media as tests: run them over one of your own.

    class TestMyLayout(SourceContract):
        @pytest.fixture
        def source(self, tmp_path):
            ...lay out a small data set, two frames at least...
            return MyLayout(tmp_path)

and the same with `MediumContract`, whose fixtures are `medium` and `keys`.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.job import check_frames
from builders.media import Medium, Picture
from builders.sources import Listing, Source
from lmdb_reid import codec
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import NO_LABEL, Kind, Roles


class SourceContract:
    """What every `builders.Source` keeps to. A fixture `source` gives a fresh one."""

    def test_it_has_a_name_and_roles(self, source: Source) -> None:
        """The name is what `--format` takes."""
        assert isinstance(source.name, str)
        assert source.name.isidentifier(), source.name
        assert isinstance(source.roles, Roles)

    def test_reading_again_gives_the_same(self, source: Source) -> None:
        """Or a build could not be resumed."""
        one, other = source.read(), source.read()
        for name in ("rows", "skipped", "dropped", "inputs", "settings", "places"):
            assert getattr(one, name) == getattr(other, name), name
        assert one.frames == other.frames

    def test_frames_are_in_order_and_their_keys_are_ids(self, source: Source) -> None:
        """Each key once, ascending as its bytes do, one whole-picture row at most."""
        listing = source.read()
        assert len(listing.frames), "a contract over no frames proves nothing"
        check_frames(listing.frames)

    def test_numbers_and_orders_name_one_row_each(self, source: Source) -> None:
        """A number names a sample of its frame, an order a row of the source."""
        orders: list[int] = []
        for frame in source.read().frames:
            numbers = [row.number for row in frame.rows]
            assert len({*numbers}) == len(numbers), frame.key
            assert min(numbers, default=0) >= 0, frame.key
            orders += [row.order for row in frame.rows]
        assert len({*orders}) == len(orders)
        assert min(orders, default=0) >= 0

    def test_every_row_is_cut_skipped_or_dropped(self, source: Source) -> None:
        """None goes without a word."""
        listing = source.read()
        cut = sum(len(frame.rows) for frame in listing.frames)
        assert cut + len(listing.skipped) + len(listing.dropped) == listing.rows
        for rejected in (*listing.skipped, *listing.dropped):
            assert rejected.where
            assert rejected.reason

    def test_labels_fit_their_kinds(self, source: Source) -> None:
        """Only people have an identity."""
        for frame in source.read().frames:
            for row in frame.rows:
                assert row.label >= NO_LABEL, frame.key
                assert row.kind == Kind.PERSON or row.label == NO_LABEL, frame.key

    def test_known_boxes_are_finite_and_have_an_area(self, source: Source) -> None:
        """Negatives are drawn around them."""
        for frame in source.read().frames:
            own = [row.box for row in frame.rows if row.box is not None]
            for box in (*own, *frame.boxes):
                assert np.isfinite(box).all(), frame.key
                assert box.w > 0, frame.key
                assert box.h > 0, frame.key

    def test_roles_name_columns_that_are_there(self, source: Source) -> None:
        """A role of a column that no sample has would find nothing."""
        listing = source.read()
        there = {"label"}
        for frame in listing.frames:
            there |= frame.fields.keys()
            for row in frame.rows:
                there |= row.fields.keys()
        roles = listing.roles or source.roles
        named = [roles.identity, roles.camera, *roles.group, *roles.time, roles.split, roles.track]
        assert {name for name in named if name is not None} <= there

    def test_every_frame_has_a_picture_with_a_name(self, source: Source) -> None:
        """Also where it turns out that the picture cannot be used."""
        listing = source.read()
        for key in listing.frames.keys:
            assert listing.medium.name(key)
            assert listing.medium.stamp(key) == listing.medium.stamp(key)

    def test_no_picture_is_opened_to_list_it(self, source: Source, monkeypatch: Any) -> None:
        """Listing is quick, and a picture that cannot be used is one frame's affair."""

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a picture was opened while listing")

        for name in ("probe", "probe_file", "read_source", "decode", "header"):
            monkeypatch.setattr(codec, name, refuse)
        source.read()

    def test_a_listing_and_its_parts_pickle(self, source: Source) -> None:
        """A part of a listing is built elsewhere."""
        listing = source.read()
        again: Listing = pickle.loads(pickle.dumps(listing))
        assert again.frames == listing.frames
        half = len(listing.frames) // 2
        part = pickle.loads(pickle.dumps(listing.frames[half:]))
        assert list(part) == list(listing.frames)[half:]
        key = next(iter(listing.frames.keys))
        assert again.medium.stamp(key) == listing.medium.stamp(key)

    def test_settings_inputs_and_places_are_json(self, source: Source) -> None:
        """They go into the manifest."""
        listing = source.read()
        for values in (listing.settings, listing.inputs, listing.places):
            assert json.loads(json.dumps(dict(values))) == dict(values)

    def test_options_go_together(self, source: Source) -> None:
        """Each has a help text; without any, `from_args` says which are missing."""
        parser = argparse.ArgumentParser()
        type(source).configure(parser)
        assert all(action.help for action in parser._actions)
        try:
            type(source).from_args(parser.parse_args([]))
        except UsageError as error:
            assert "--" in str(error), error
        else:
            raise AssertionError("a source must need at least one option, got none")

    def test_an_empty_folder_is_not_recognised(self, source: Source, tmp_path: Path) -> None:
        """Nor one that is not there."""
        (tmp_path / "empty").mkdir()
        assert type(source).recognises(tmp_path / "empty") == ""
        assert type(source).recognises(tmp_path / "nowhere") == ""


class MediumContract:
    """What every `builders.Medium` keeps to.

    A fixture `medium` gives one, a fixture `keys` the keys of its pictures, ascending, all of
    which can be used.
    """

    def test_a_run_gives_a_picture_for_each_key(self, medium: Medium, keys: Sequence[str]) -> None:
        """In their order, of their sizes."""
        pictures = [_pixels(picture) for picture in medium.run(keys)]
        assert len(pictures) == len(keys) > 1
        assert [image.shape[:2] for image in pictures] == [medium.size(key) for key in keys]

    def test_some_of_the_keys_give_the_same(self, medium: Medium, keys: Sequence[str]) -> None:
        """Whatever came before."""
        all_of_them = [_pixels(picture) for picture in medium.run(keys)]
        every_other = [_pixels(picture) for picture in medium.run(keys[1::2])]
        for one, other in zip(all_of_them[1::2], every_other, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_pictures_may_be_called_by_threads(self, medium: Medium, keys: Sequence[str]) -> None:
        """As a build calls them, a few ahead."""
        alone = [_pixels(picture) for picture in medium.run(keys)]
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(_pixels, medium.run(keys)))
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_run_may_end_early(self, medium: Medium, keys: Sequence[str]) -> None:
        """A build may be stopped; what follows is as good as before."""
        run = iter(medium.run(key for key in keys))
        first = _pixels(next(run))
        del run
        np.testing.assert_array_equal(first, _pixels(next(iter(medium.run(keys)))))

    def test_a_copy_gives_the_same(self, medium: Medium, keys: Sequence[str]) -> None:
        """Through a pickle, as another process gets it."""
        copy: Medium = pickle.loads(pickle.dumps(medium))
        for key in keys:
            assert (copy.name(key), copy.stamp(key)) == (medium.name(key), medium.stamp(key))
        one, other = (_pixels(next(iter(each.run(keys[:1])))) for each in (medium, copy))
        np.testing.assert_array_equal(one, other)

    def test_names_tell_pictures_apart(self, medium: Medium, keys: Sequence[str]) -> None:
        """They are what people read."""
        assert len({medium.name(key) for key in keys}) == len(keys)


def _pixels(picture: Picture) -> npt.NDArray[np.uint8]:
    data = picture()
    if isinstance(data, bytes):
        data = codec.read_source(data)
    assert data.dtype == np.uint8
    assert data.shape[2:] == (3,)
    return np.array(data)
