"""The random generators that a transform keeps, wherever it keeps them."""

from __future__ import annotations

import functools
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lmdb_reid.dataset._generators import OwnGenerators
from lmdb_reid.dataset._transform import pil_transform, sample_transform
from lmdb_reid.errors import UsageError

HERE = np.random.default_rng(5)
Draw = Callable[..., float]


class Keeps:
    """Keeps a thing as an attribute."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __call__(self, image: Any) -> Any:
        return image

    def method(self, image: Any) -> Any:
        return image


class Slotted:
    __slots__ = ("rng",)

    def __init__(self, rng: Any) -> None:
        self.rng = rng

    def __call__(self, image: Any) -> Any:
        return image


class Module(torch.nn.Module):
    def __init__(self, thing: Any) -> None:
        super().__init__()
        self.steps = torch.nn.ModuleList([torch.nn.Identity()])
        self.thing = thing

    def forward(self, image: Any) -> Any:
        return image


class UsesHere:
    def __call__(self, image: Any) -> float:
        return HERE.random()


def helper() -> float:
    return HERE.random()


def uses_here(image: Any) -> float:
    return helper()


def closure(rng: Any) -> Any:
    return lambda image: rng.random()


def default(rng: Any) -> Any:
    def transform(image: Any, rng: Any = rng) -> Any:
        return rng.random()

    return transform


WAYS: dict[str, Callable[[Any], Any]] = {
    "attribute": Keeps,
    "slot": Slotted,
    "deep": lambda rng: Keeps([{"steps": (Keeps(0), Keeps(rng))}]),
    "method": lambda rng: Keeps(rng).method,
    "partial": lambda rng: functools.partial(max, 1, key=Keeps(rng)),
    "closure": closure,
    "default": default,
    "module": Module,
}
KINDS: dict[str, tuple[Callable[[], Any], Draw]] = {
    "PCG64": (lambda: np.random.default_rng(0), lambda rng: rng.random()),
    "Philox": (lambda: np.random.Generator(np.random.Philox(0)), lambda rng: rng.random()),
    "MT19937": (lambda: np.random.Generator(np.random.MT19937(0)), lambda rng: rng.random()),
    "RandomState": (lambda: np.random.RandomState(0), lambda rng: rng.random_sample()),
    "random": (lambda: random.Random(0), lambda rng: rng.random()),
    "torch": (torch.Generator, lambda rng: float(torch.rand((), generator=rng))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_is_found_and_seeded(way: str, kind: str) -> None:
    make, draw = KINDS[kind]
    rng = make()
    transform, own = WAYS[way](rng), OwnGenerators()
    assert own.of(transform) == [rng]
    drawn = []
    for seed in (1, 2, 1, 1 << 63):
        own.seed(transform, seed)
        drawn.append([draw(rng) for _ in range(3)])
    assert drawn[0] == drawn[2]
    assert len({each for row in drawn for each in row}) == 9, "every seed another beginning"


@pytest.mark.parametrize("transform", [uses_here, UsesHere(), functools.partial(uses_here)])
def test_one_of_the_transforms_module_is_found(transform: Any) -> None:
    assert OwnGenerators().of(transform) == [HERE]


def test_several_do_not_draw_the_same() -> None:
    rngs = [np.random.default_rng(0), np.random.default_rng(0)]
    own, transform = OwnGenerators(), Keeps([*rngs, rngs[0]])
    assert own.of(transform) == rngs, "each once"
    own.seed(transform, 3)
    assert rngs[0].random() != rngs[1].random()


@pytest.mark.parametrize(
    "transform",
    [
        None,
        abs,
        Keeps(np.random),
        Keeps(np.random.rand),
        Keeps(random.random),
        Keeps(torch.default_generator),
        Keeps(np.zeros(3)),
        torch.nn.Identity(),
        lambda image: np.random.default_rng(0).random(),
    ],
)
def test_what_has_none_or_the_global_ones_alone(transform: Any) -> None:
    assert OwnGenerators().of(transform) == []


def test_things_that_hold_themselves_end() -> None:
    one, other = Keeps(None), Keeps(None)
    one.thing, other.thing = other, [one, np.random.default_rng(0)]
    assert len(OwnGenerators().of(one)) == 1


class Odd:
    """Its attributes cannot be asked for."""

    __slots__ = ("rng",)

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("ask nobody")

    def __call__(self, image: Any) -> Any:
        return image


def test_objects_that_refuse_to_be_looked_at_do_no_harm() -> None:
    assert OwnGenerators().of([Odd(), np.random.default_rng(0)]) != []


def test_a_pickled_transform_is_looked_through_again() -> None:
    given = sample_transform(Keeps(np.random.default_rng(0)))
    assert given is not None
    (before,) = given.own.of(given.function)
    there = pickle.loads(pickle.dumps(given))
    (after,) = there.own.of(there.function)
    assert after is there.function.thing
    assert after is not before


def test_a_transform_of_pil_images_is_looked_into() -> None:
    given = pil_transform(Keeps(HERE))
    assert given is not None
    assert given.own.of(given.function) == [HERE]


def test_all_that_a_transform_may_draw_from_is_seeded() -> None:
    rng = np.random.default_rng(0)
    given = sample_transform(Keeps(rng))
    assert given is not None
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        drawn = []
        for _ in range(2):
            given.seed_all(7)
            drawn.append((float(torch.rand(())), random.random(), np.random.rand(), rng.random()))
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])
    assert drawn[0] == drawn[1]


def test_a_transform_that_is_at_its_end_never_ends_a_loop() -> None:
    given = sample_transform(lambda image: next(iter([])))
    assert given is not None
    with pytest.raises(UsageError, match="the transform raised StopIteration"):
        given(torch.zeros(3, 2, 1, dtype=torch.uint8), None)
