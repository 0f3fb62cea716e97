"""What makes batches: tasks in, images out, in order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

import torch

from lmdb_reid.loaders._batch import BatchResult
from lmdb_reid.loaders._plan import Footprint
from lmdb_reid.sampling import Task


class Engine(Protocol):
    """Makes the images of batches from tasks.

    Laws: results come in the order of the tasks; a batch is never written again; `run` ends an
    earlier pass; an exception in a worker reaches the consumer with the sample's id; `close` leaves
    no thread or process behind. The first batch of `run` is asked for in the consumer's thread;
    where batches go to a GPU, the others are in another one, in a stream that it has entered.
    """

    name: str
    """As `make_loader` and `Plan` call it."""

    places: bool
    """Whether its workers do the geometric steps of a recipe; else the device step does."""

    @property
    def device(self) -> torch.device:
        """Where its images are."""
        ...

    def run(self, tasks: Sequence[Task]) -> Generator[BatchResult, None, None]:
        """One pass."""
        ...

    def footprint(self, batch_size: int) -> Footprint:
        """What batches of so many samples take."""
        ...

    def ready(self) -> int | None:
        """Batches that are whole and wait for the consumer; None where that is not known."""
        ...

    def buffers(self) -> tuple[int, int] | None:
        """(batch buffers made, batches that got ordinary memory since all of these were held);
        None where the engine keeps none.
        """
        ...

    def close(self) -> None:
        """Stop for good."""
        ...


CPU = torch.device("cpu")
