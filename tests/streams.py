"""A stand-in for the stream of a GPU, so that loaders send batches ahead where there is none."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


class Mark:
    """Stands in for an event that the device has passed."""

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def elapsed_time(self, other: Mark) -> float:
        """A millisecond."""
        return 1.0


class StandIn:
    """A stream beside the consumer's, on a device that has none; see `SideStream`."""

    def entered(self) -> AbstractContextManager[None]:
        """What is done inside is done at once."""
        return nullcontext()

    def mark(self) -> Mark:
        """An event."""
        return Mark()

    def consumers(self) -> str:
        """The consumer's stream."""
        return str(self.consumers_number())

    def consumers_number(self) -> int:
        """Its number."""
        return 0
