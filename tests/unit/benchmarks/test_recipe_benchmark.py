"""Loaders with the recipe on: what is found in their outputs, and which there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import loaders
from benchmarks.peers import _field
from benchmarks.peers._outputs import (
    FILL,
    MEAN,
    STD,
    Seen,
    as_bytes,
    expected,
    look_for,
    statistics,
)
from benchmarks.peers._recipe_field import RECIPE_COMPARISONS, RECIPE_ENTRIES
from lmdb_reid.augment import ReIDAugment, draw, place, resolve

SIZE = (64, 32)


def pictures(count: int) -> Any:
    """uint8 [count, 64, 32, 3] of noise, in which any part is found again."""
    return np.random.default_rng(count).integers(0, 256, (count, *SIZE, 3)).astype(np.uint8)


def augmented(originals: Any, recipe: ReIDAugment) -> Any:
    shown = originals.copy()
    place(shown, draw(recipe, SIZE, 0, 0, np.arange(len(shown), dtype=np.int64)))
    return shown


class TestPictures:
    @pytest.mark.parametrize("flipped", [False, True])
    @pytest.mark.parametrize("move", [(0, 0), (7, -10), (-3, 4)])
    def test_what_was_done_to_one_is_found(self, flipped: bool, move: tuple[int, int]) -> None:
        (original,) = pictures(1)
        down, right = move
        padded = np.pad(original[:, ::-1] if flipped else original, ((10, 10), (10, 10), (0, 0)))
        shown = padded[10 - down : 10 - down + 64, 10 - right : 10 - right + 32].copy()
        shown[20:40, 5:25] = FILL
        border = 1 - (64 - abs(down)) * (32 - abs(right)) / (64 * 32)
        assert look_for(shown, original) == Seen(flipped, border, 400 / 2048, True)

    def test_one_that_is_as_it_was(self) -> None:
        (original,) = pictures(1)
        assert look_for(original, original) == Seen(False, 0.0, 0.0, True)

    def test_a_smooth_one_is_found_too(self) -> None:
        ramp = np.linspace(90, 97, 64).astype(np.uint8)[:, None, None]
        original = np.broadcast_to(ramp, (*SIZE, 3)).copy()
        original[30, 7] = 200  # all there is to see
        shown = np.zeros_like(original)
        shown[:-5, 6:] = original[5:, :-6]
        found = look_for(shown, original)
        assert (found.explained, found.erased) == (True, 0.0)
        assert found.bordered == pytest.approx(1 - 59 * 26 / 2048)

    def test_another_colour_or_another_picture_is_not_explained(self) -> None:
        one, other = pictures(2)
        shown = one.copy()
        shown[20:40, 5:25] = 0
        assert not look_for(shown, one).explained
        assert not look_for(other, one).explained

    def test_floats_become_the_bytes_that_they_were(self) -> None:
        originals = pictures(3)
        floats = ((originals / 255 - MEAN) / STD).astype(np.float32)
        np.testing.assert_array_equal(as_bytes(floats), originals)
        np.testing.assert_array_equal(as_bytes(floats.transpose(0, 3, 1, 2)), originals)
        np.testing.assert_array_equal(as_bytes(originals.transpose(0, 3, 1, 2)), originals)


class TestStatistics:
    def check(self, recipe: ReIDAugment | None) -> dict[str, Any]:
        originals = pictures(300)
        shown = originals if recipe is None else augmented(originals, recipe)
        return statistics([(np.arange(300), shown)], originals, "bot")

    def test_ours_do_what_the_recipe_says(self) -> None:
        found = self.check(resolve("bot"))
        assert found["off"] == []
        assert found["sampled"] == 300
        assert loaders.is_right(found)
        told = loaders.pixels_told({"pixels": found})
        assert re.fullmatch(
            r"flipped 0\.\d+, bordered 0\.\d+, erased 0\.\d+, explained 1\.000", told
        )

    @pytest.mark.parametrize(
        ("recipe", "off"),
        [
            (ReIDAugment(flip=0), ["flipped"]),
            (ReIDAugment(pad=3), ["bordered"]),
            (ReIDAugment(erase=0.1), ["erased"]),
            (ReIDAugment(erase=0.1, erase_fill=(0, 0, 0)), ["explained"]),
            (None, ["flipped", "bordered", "erased"]),
        ],
    )
    def test_another_recipe_is_off(self, recipe: ReIDAugment | None, off: list[str]) -> None:
        found = self.check(recipe)
        assert set(off) <= set(found["off"])
        assert not loaders.is_right(found)
        assert "(not 0." in loaders.pixels_told({"pixels": found}) or off == ["explained"]

    def test_crops_that_do_not_come_once_are_told(self) -> None:
        originals = pictures(4)
        found = statistics([(np.array([0, 1, 1]), originals[[0, 1, 1]])], originals, "bot")
        assert (found["missing"], found["repeated"]) == (2, 1)

    def test_the_guides_recipe_mirrors_and_brightens_half(self) -> None:
        originals = np.clip(pictures(400) // 2 + 20, 0, 200).astype(np.uint8)
        draws = np.random.default_rng(1)
        factor = draws.uniform(0.8, 1.2, (400, 1, 1, 1))
        flip = draws.random(400) < 0.5
        shown = np.rint(originals * factor).astype(np.uint8)
        shown[flip] = shown[flip][:, :, ::-1]
        assert statistics([(np.arange(400), shown)], originals, "guide")["off"] == []
        assert statistics([(np.arange(400), originals)], originals, "guide")["off"] == [
            "flipped",
            "brighter",
        ]

    def test_expectations(self) -> None:
        goal = expected("bot", (256, 128))
        mean = 110 / 21  # of |-10|, ..., |10|
        border = 1 - (1 - mean / 256) * (1 - mean / 128)
        assert goal["bordered"].mean == pytest.approx(border, abs=1e-3)
        assert 0.09 < goal["erased"].mean < 0.105  # half of 0.21, large ones fit less often


class TestField:
    def test_keys_are_unique_and_each_has_a_module(self) -> None:
        keys = [entry.key for entry in RECIPE_ENTRIES]
        assert len(set(keys)) == len(keys)
        folder = Path(_field.__file__).parent
        assert all((folder / f"{entry.module}.py").is_file() for entry in RECIPE_ENTRIES)

    def test_comparisons_and_ceilings_name_engines_that_race(self) -> None:
        keys = {entry.key for entry in RECIPE_ENTRIES}
        assert {entry.ceiling for entry in RECIPE_ENTRIES} <= keys
        assert {key for _, of, over, _ in RECIPE_COMPARISONS for key in (of, over)} <= keys

    def test_each_says_what_comes_out(self) -> None:
        for entry in RECIPE_ENTRIES:
            recipe = next((name for name in ("bot", "guide") if name in entry.variant), "pixels")
            assert entry.output == recipe

    def test_shares_that_are_off_are_a_fault_of_ours_and_told_of_a_peer(self) -> None:
        off = {
            "missing": 0,
            "repeated": 0,
            "found": {"flipped": 0.1},
            "expected": {"flipped": 0.5},
            "off": ["flipped"],
        }
        keys = ("ours-threads-bot", "files-bot")
        result = {"skipped": {}, "engines": {key: {"pixels": off} for key in keys}}
        assert loaders.faults(result, RECIPE_ENTRIES) == [
            "ours-threads-bot: flipped 0.100 (not 0.500)"
        ]

    def test_peers_of_the_recipe_are_its_own(self) -> None:
        peers = ["ffcv", "files", "plain_lmdb", "spdl", "dali"]
        assert loaders.named("all", RECIPE_ENTRIES) == peers
        assert loaders.arguments(["--store", "s", "--recipe", "bot"]).recipe == "bot"
        assert loaders.main(["--store", "s", "--recipe", "bot", "--peers", "litdata"]) == 2
