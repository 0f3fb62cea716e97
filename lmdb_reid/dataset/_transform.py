"""A user's transform of single images, and the randomness that it is given."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from lmdb_reid.dataset._generators import OwnGenerators
from lmdb_reid.errors import UsageError

Transform = Callable[..., Any]
"""Takes a uint8 tensor [3, H, W]; with a keyword `generator` it is given a seeded
torch.Generator.
"""


@dataclass(frozen=True, slots=True)
class SampleTransform:
    """A transform, and what it draws from."""

    function: Transform
    wants_generator: bool
    """Whether it has a keyword `generator`."""
    own: OwnGenerators = field(default_factory=OwnGenerators, repr=False, compare=False)
    """Generators that it keeps."""

    def seed_all(self, seed: int) -> None:
        """Seed whatever it may draw from but a `generator` that it is given: torch, random, NumPy
        and the generators that it keeps. For processes of our own.
        """
        if not self.wants_generator:
            seed_globals(seed)
        self.own.seed(self.function, seed)

    def __call__(self, image: torch.Tensor, seed: int | None) -> Any:
        """What the transform makes of an image, uint8 [3, H, W].

        A generator that it wants is seeded with `seed`, or by the system where that is None.

        Raises:
            UsageError: it raised StopIteration, which would end the caller's loop.
        """
        given = {"generator": _seeded(seed)} if self.wants_generator else {}
        try:
            return self.function(image, **given)
        except StopIteration as error:
            raise UsageError(
                "the transform raised StopIteration, as next() does at an iterator's end:"
                " pass next() a second argument, or use itertools.cycle"
            ) from error


def sample_transform(transform: Transform | None) -> SampleTransform | None:
    """`transform` with what its signature says of randomness.

    Raises:
        UsageError: it cannot be called.
    """
    if transform is not None and not callable(transform):
        raise UsageError(f"transform must be a function of one image, got {transform!r}.")
    return None if transform is None else SampleTransform(transform, _takes_generator(transform))


def pil_transform(transform: Transform | None) -> SampleTransform | None:
    """The same for a transform that takes a PIL image in RGB instead of a tensor."""
    if transform is None:
        return None
    return SampleTransform(_OfPil(transform), _takes_generator(transform))


def seed_globals(seed: int) -> None:
    """Seed torch, random and NumPy, from which other people's transforms draw."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))


def _seeded(seed: int | None) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


class _OfPil:
    """Hands the inner transform a PIL image made of the tensor."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def __call__(self, image: torch.Tensor, **generator: Any) -> Any:
        import PIL.Image

        # A copy: a transform may keep, or draw on, what it is given.
        picture = PIL.Image.fromarray(image.permute(1, 2, 0).numpy().copy())
        return self._transform(picture, **generator)


def _takes_generator(transform: Transform) -> bool:
    """Whether a transform has a keyword `generator`."""
    # A torch module is called through Module.__call__, which takes anything.
    function = transform.forward if isinstance(transform, torch.nn.Module) else transform
    try:
        return "generator" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False
