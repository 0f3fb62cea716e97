"""Random generators that a transform keeps: found in it, and set for each sample."""

from __future__ import annotations

import contextlib
import functools
import inspect
import random
import types
from collections.abc import Iterator, Mapping

import numpy as np
import torch

_MOST = 10_000  # objects that are looked at
_GLOBAL: tuple[object, ...] = (
    np.random.mtrand._rand,
    vars(random)["_inst"],
    torch.default_generator,
)
"""Not a transform's own."""

Generator = np.random.Generator | np.random.RandomState | random.Random | torch.Generator
_KINDS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)
_PLAIN = (str, bytes, int, float, complex, bool, type, types.ModuleType, np.ndarray, torch.Tensor)


class OwnGenerators:
    """The generators that a transform keeps, looked for when they are first needed. A copy in
    another process looks again.
    """

    def __init__(self) -> None:
        self._found: list[Generator] | None = None

    def of(self, transform: object) -> list[Generator]:
        """Each once."""
        if self._found is None:
            self._found = list(_generators(transform))
        return self._found

    def seed(self, transform: object, seed: int) -> None:
        """Set them as the first draws of `seed`, each apart from the others."""
        for number, generator in enumerate(self.of(transform)):
            _seed(generator, seed, number)

    def __reduce__(self) -> tuple[type[OwnGenerators], tuple[()]]:
        return OwnGenerators, ()


def _seed(generator: Generator, seed: int, number: int) -> None:
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        fresh = type(bits)(np.random.SeedSequence([seed, number]))
        bits.state = fresh.state
    elif isinstance(generator, np.random.RandomState):
        words = np.random.SeedSequence([seed, number]).generate_state(4)
        generator.set_state(np.random.RandomState(words).get_state())
    elif isinstance(generator, random.Random):
        generator.seed((seed << 16) + number)
    else:
        generator.manual_seed((seed + number) % (1 << 63))


def _generators(transform: object) -> Iterator[Generator]:
    """The generators that can be reached from a transform: through attributes, containers, bound
    arguments, closures, and the names of its own module that its functions use.
    """
    seen: dict[int, object] = {}  # kept, lest an address be used twice
    todo: list[object] = [transform]
    while todo and len(seen) < _MOST:
        thing = todo.pop()
        if id(thing) in seen or any(thing is known for known in _GLOBAL):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, _KINDS):
            yield thing
        else:
            todo += reversed([part for part in _parts(thing) if not isinstance(part, _PLAIN)])


def _parts(thing: object) -> list[object]:
    """What an object refers to, in an order that is the same in every process."""
    if isinstance(thing, Mapping):
        return list(thing.values())
    if isinstance(thing, list | tuple):
        return list(thing)
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, types.FunctionType):
        return _of_function(thing)
    return [*_attributes(thing), *_calls(type(thing))]


def _attributes(thing: object) -> list[object]:
    parts: list[object] = []
    with contextlib.suppress(Exception):  # whatever a user's proxy raises
        parts += vars(thing).values()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            with contextlib.suppress(Exception):
                parts.append(getattr(thing, name))
    return parts


def _calls(kind: type) -> list[object]:
    """The functions that run when an object of a class is called, as its module has them."""
    found = [inspect.getattr_static(kind, name, None) for name in ("__call__", "forward")]
    return [
        each
        for each in found
        if isinstance(each, types.FunctionType) and each.__module__ == kind.__module__
    ]


def _of_function(function: types.FunctionType) -> list[object]:
    bound = function.__kwdefaults__ or {}
    parts: list[object] = [*(function.__defaults__ or ()), *bound.values()]
    for cell in function.__closure__ or ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    for name in function.__code__.co_names:
        used = function.__globals__.get(name)
        # Functions of other modules are left alone, or one would end up in all of NumPy.
        if not isinstance(used, types.FunctionType) or used.__module__ == function.__module__:
            parts.append(used)
    return parts
