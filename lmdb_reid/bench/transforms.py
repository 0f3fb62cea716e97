"""What each transform of a user's pipeline costs, beside decoding an image."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmdb_reid.dataset import ReIDDataset, sample_transform
from lmdb_reid.errors import MissingExtraError, UsageError
from lmdb_reid.schema import Pixels, Size
from lmdb_reid.store import Store

try:
    import PIL.Image
except ImportError:  # needed for pipelines that take PIL images only
    PIL = None  # type: ignore[assignment]  # the module's name doubles as the flag

_IMAGES = 64  # that a pipeline is timed on, in turns
_ROUNDS = 4  # over them, if there is time
_CHOOSERS = ("Random", "OneOf", "SomeOf")  # their `.transforms` are not all called
Stage = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One transform."""

    name: str
    ms: float
    """For an image, mean."""
    share: float
    """Of the pipeline, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCost:
    """A pipeline, on one core."""

    images: int
    """That went through it."""
    decode_ms: float
    """To take an image from the store and decode it."""
    total_ms: float
    """For an image to go through all stages."""
    stages: tuple[StageCost, ...]


def load_pipeline(spec: str) -> list[Stage]:
    """The transforms that a text names, in order.

    Args:
        spec: `package.module:name` of a callable, of a list of them, or of an object with
            `.transforms` (such as torchvision's Compose); a class is called without arguments, and
            so is anything where `()` follows the name. Modules in the current folder are found. Or
            a .json file with a list of {"class_path": "package.module.Class", "init_args": {...}}.

    Raises:
        UsageError: no such thing, or none that can be called.
    """
    if spec.endswith(".json"):
        return [_configured(entry) for entry in _listed(Path(spec))]
    name = spec.removesuffix("()")
    found = _imported(name)
    if name != spec or inspect.isclass(found):
        found = found()
    stages = _parts(found)
    for stage in stages:
        if not callable(stage):
            raise UsageError(f"{spec}: {stage!r} cannot be called: name transforms")
    return stages


class Pipeline:
    """Transforms one after another: a dataset's transform.

    Args:
        stages: in order; one that has a keyword `generator` gets one, seeded from torch's own.
        pil: begin with a PIL image, as `CroppedBBoxDataset` gives it, instead of a tensor.
    """

    def __init__(self, stages: Sequence[Stage], *, pil: bool = False) -> None:
        if pil and PIL is None:
            raise MissingExtraError.of("Pillow", "build", "a pipeline that takes PIL images")
        self.stages = list(stages)
        self.pil = pil

    def __call__(self, image: torch.Tensor) -> Any:
        """What comes out for a uint8 tensor [3, H, W]."""
        value = self.begin(image)
        for stage in self.stages:
            value = called(stage, value)
        return value

    def begin(self, image: torch.Tensor) -> Any:
        """What the first transform is given."""
        return PIL.Image.fromarray(image.permute(1, 2, 0).numpy()) if self.pil else image


def called(stage: Stage, value: Any) -> Any:
    """The result of one transform."""
    transform = sample_transform(stage)
    assert transform is not None
    return transform(value, int(torch.randint(1 << 62, ())))


def pipeline_cost(
    store: Path, pipeline: Pipeline, *, size: Size | None = None, limit_s: float
) -> PipelineCost:
    """Time each transform on images of the store, with one torch thread, as workers have it.

    Raises:
        UsageError: a transform raises; says which one, and what it was given.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images, decode_s = _decoded(store, size)
        return _timed(pipeline, images, decode_s, limit_s)
    finally:
        torch.set_num_threads(threads)


def _decoded(path: Path, size: Size | None) -> tuple[Pixels, float]:
    """Images from all over a store, and the seconds that each took the second time."""
    with Store(path) as store:
        dataset = ReIDDataset(store, size=size)
        rows = np.linspace(0, len(store) - 1, min(_IMAGES, len(store))).astype(np.int64)
        out = np.empty((len(rows), *dataset.size, 3), np.uint8)
        dataset.crops.read(rows, out)  # from the disk, perhaps
        began = time.perf_counter()
        dataset.crops.read(rows, out)
        return out, (time.perf_counter() - began) / max(1, len(rows))


def _timed(pipeline: Pipeline, images: Pixels, decode_s: float, limit_s: float) -> PipelineCost:
    spent = [0.0] * len(pipeline.stages)
    _run(pipeline, images[0], spent)  # what a first call sets up is no cost of an image
    spent = [0.0] * len(pipeline.stages)
    until, count = time.perf_counter() + limit_s, 0
    while count < _ROUNDS * len(images):
        _run(pipeline, images[count % len(images)], spent)
        count += 1
        if time.perf_counter() > until:
            break
    total = sum(spent)
    return PipelineCost(
        images=count,
        decode_ms=1e3 * decode_s,
        total_ms=1e3 * total / count,
        stages=tuple(
            StageCost(name=_name(stage), ms=1e3 * seconds / count, share=seconds / total)
            for stage, seconds in zip(pipeline.stages, spent, strict=True)
        ),
    )


def _run(pipeline: Pipeline, pixels: Pixels, spent: list[float]) -> None:
    """One image through the stages, their times added up."""
    value = pipeline.begin(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
    for place, stage in enumerate(pipeline.stages):
        began = time.perf_counter()
        try:
            made = called(stage, value)
        except Exception as error:  # whatever a user's transform raises
            given = "a PIL image" if pipeline.pil else "a uint8 tensor [3, H, W]"
            raise UsageError(
                f"{_name(stage)} raised {type(error).__name__}: {error}; the pipeline"
                f" received {given} (--pil decides), this transform {type(value).__name__}"
            ) from error
        spent[place] += time.perf_counter() - began
        value = made


def _parts(found: Any) -> list[Any]:
    """The transforms of a pipeline; of anything else, itself."""
    inner = getattr(found, "transforms", found)
    if type(found).__name__.startswith(_CHOOSERS):
        return [found]
    whole = isinstance(inner, Sequence | torch.nn.ModuleList | torch.nn.Sequential)
    return list(inner) if whole else [found]


def _name(stage: Stage) -> str:
    return getattr(stage, "__name__", None) or type(stage).__name__


def _imported(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(".")
    if not module or not attribute:
        raise UsageError(f"a transform must be package.module:name, got {name!r}")
    here = os.fspath(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that nothing here hides what is installed
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{name} cannot be imported: {error}") from error
    return found


def _listed(file: Path) -> list[Any]:
    try:
        entries = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise UsageError(f'{file} must be a list of {{"class_path": ..., "init_args": ...}}')
    return entries


def _configured(entry: Any) -> Stage:
    if not isinstance(entry, dict) or not isinstance(entry.get("class_path"), str):
        raise UsageError(
            f'a transform must be {{"class_path": ..., "init_args": {{...}}}}, got {entry!r}'
        )
    made: Stage = _imported(entry["class_path"])(**entry.get("init_args", {}))
    return made
