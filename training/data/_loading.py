"""How a data module reads: settings for `make_loader`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from lmdb_reid._arguments import known_fields
from lmdb_reid.augment import ReIDAugment
from lmdb_reid.cache import DecodedTier, PixelCache
from lmdb_reid.dataset import Selection
from lmdb_reid.errors import UsageError
from lmdb_reid.loaders import Loader, make_loader
from lmdb_reid.machine import available_cores
from lmdb_reid.sampling import Sampler
from lmdb_reid.store import Store

EngineName = Literal["auto", "threads", "processes", "dataloader"]
Normalize = Literal["imagenet"] | tuple[tuple[float, ...], tuple[float, ...]]
SamplerOf = Callable[[Selection], Sampler | Iterable[int]]
"""Makes the sampler of a training epoch; what it is given has `labels`, int64 [N], and a length."""

_MOST_WORKERS = 4  # unless told otherwise, as the guide has it


@known_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Settings of a data module's loaders; see `make_loader`, which gets them.

    Raises:
        UsageError: a value outside its range; names it.
    """

    batch_size: int = 64
    """Of validation too; of training unless the sampler makes batches."""
    num_workers: int | None = None
    """0 decodes in the caller's thread; None is 4, or as many as there are cores."""
    prefetch: int = 2
    persistent_workers: bool = True
    pin_memory: bool | None = None
    engine: EngineName = "auto"
    seed: int = 0
    on_error: Literal["raise", "skip"] = "raise"
    drop_last: bool = False
    """Of training: leave out a last batch that is not full."""
    dtype: torch.dtype | None = None
    """A floating one: what images become. What a transform gives stays as it is."""
    normalize: Normalize | None = None
    """"imagenet" or (mean, std), of pixels in 0..1; likewise."""
    cache: PixelCache | None = None
    """Keeps decoded pixels."""
    tier: bool | str = False
    """Keep decoded pixels in a DecodedTier beside the store, or in this folder."""
    augment: ReIDAugment | str | None = None
    """Of training; see `make_loader`."""

    def __post_init__(self) -> None:
        self._check_numbers()
        for name, words in (("engine", get_args(EngineName)), ("on_error", ("raise", "skip"))):
            if getattr(self, name) not in words:
                raise UsageError(
                    f"{name} must be one of {', '.join(words)}; got {getattr(self, name)!r}"
                )
        if self.cache is not None and self.tier is not False:
            raise UsageError("cache and tier exclude each other. Pass one of them")

    def _check_numbers(self) -> None:
        for name, least in (("num_workers", 0), ("prefetch", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if name == "num_workers" and value is None:
                continue
            if not isinstance(value, int) or value < least:
                raise UsageError(f"{name} must be a whole number, at least {least}, got {value!r}")

    def cache_of(self, store: Store) -> PixelCache | None:
        """Where the decoded pixels of a store are kept."""
        if self.tier is False:
            return self.cache
        return DecodedTier(store, None if self.tier is True else self.tier)

    def loader(
        self,
        selection: Selection,
        *,
        device: torch.device | None = None,
        training: bool = False,
        sampler: SamplerOf | None = None,
    ) -> Loader:
        """A loader over `selection`.

        Args:
            selection: what to read.
            device: where batches go; None leaves them in memory.
            training: draw an order for each epoch, and mind `drop_last`; else every sample once, as
                they stand.
            sampler: draws that order.
        """
        plain = selection.transform is None
        cores = min(_MOST_WORKERS, available_cores())
        order: dict[str, Any] = {"batch_size": self.batch_size, "shuffle": training}
        if training and sampler is not None:
            drawn = sampler(selection)
            own = isinstance(drawn, Sampler) and drawn.batch_size is not None
            order = {"batch_size": None if own else self.batch_size, "sampler": drawn}
        return make_loader(
            selection,
            **order,
            engine=self.engine,
            num_workers=cores if self.num_workers is None else self.num_workers,
            prefetch=self.prefetch,
            device=device,
            dtype=self.dtype if plain else None,
            normalize=self.normalize if plain else None,
            augment=self.augment if training else None,
            drop_last=self.drop_last and training,
            seed=self.seed,
            on_error=self.on_error,
            pin_memory=self.pin_memory,
            persistent_workers=self.persistent_workers,
        )
