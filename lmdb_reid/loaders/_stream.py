"""The stream of a GPU that batches are made ready in, beside the consumer's own work."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch


class SideStream:
    """A stream for a loader's life. Its kernels come before the consumer's own: they are a few
    short ones against a step's many.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]  # torch's
        self._index: int = self._stream.device.index

    def __reduce__(self) -> tuple[type[SideStream], tuple[torch.device]]:
        """Of a loader that is sent to another process, which needs a stream of its own."""
        return SideStream, (self._device,)

    def entered(self) -> AbstractContextManager[Any]:
        """What this thread does inside goes into the stream."""
        return torch.cuda.stream(self._stream)

    def mark(self) -> torch.cuda.Event:
        """An event behind all that is in the stream by now; timed, and waited for asleep, since
        decoders need the cores.
        """
        event = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]  # torch's
        self._stream.record_event(event)
        return event

    def consumers(self) -> torch.cuda.Stream:
        """The stream that this thread works in by itself."""
        return torch.cuda.current_stream(self._index)

    def consumers_number(self) -> int:
        """Tells one from another, in a tenth of the time."""
        return torch._C._cuda_getCurrentRawStream(self._index)


def side_stream(device: torch.device) -> SideStream | None:
    """A stream beside the consumer's, where a device has streams."""
    return SideStream(device) if device.type == "cuda" else None
