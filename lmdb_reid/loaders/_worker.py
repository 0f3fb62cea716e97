"""A worker process of the processes engine, and what travels between it and the consumer."""

from __future__ import annotations

import math
import pickle
import signal
import traceback
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import torch

from lmdb_reid.loaders._batch import Damaged, Timings
from lmdb_reid.loaders._job import Job
from lmdb_reid.loaders._shared import SharedBuffer
from lmdb_reid.sampling import Task


class Order(NamedTuple):
    """One batch to make, for a worker: where to, and its task in plain values."""

    number: int
    slot: int
    positions: bytes
    seed: int
    epoch: int
    first: int
    stride: int

    def task(self) -> Task:
        """What to make."""
        return Task(np.frombuffer(self.positions, np.int64), *self[3:])


class Answer(NamedTuple):
    """What came of it: the images lie in the slot, unless they are no plain tensor."""

    number: int
    slot: int
    damaged: list[Damaged]
    timings: Timings
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None
    """Of the images in the slot; None for the decoded pixels as they are."""
    images: Any = None
    error: bytes | None = None
    trace: str = ""


def work(
    pipe: Connection,
    job: Job,
    buffer: SharedBuffer,
    inherited: list[Connection],
) -> None:
    """A worker's life: until it is told to end, or the consumer's end of its pipe is gone."""
    for ours in inherited:  # a forked worker would keep its siblings' pipes open
        ours.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the consumer's
    torch.set_num_threads(1)
    while True:
        try:
            received = pipe.recv()
        except (EOFError, OSError):
            return
        if received is None:
            return
        order = Order(*received)
        try:
            answer = _answer(order, job, buffer)
        except BaseException as error:  # whatever it is belongs to the consumer
            answer = _failure(order, error)
        try:
            if answer.images is None:
                send(pipe, answer)
            else:
                pipe.send(tuple(answer))  # torch's own way with tensors
        except OSError:  # the consumer is gone
            return


def send(pipe: Connection, message: tuple[Any, ...]) -> None:
    """`pipe.send` of a message without tensors, in a fraction of its time."""
    pipe.send_bytes(pickle.dumps(tuple(message), pickle.HIGHEST_PROTOCOL))


def _answer(order: Order, job: Job, buffer: SharedBuffer) -> Answer:
    number, slot, task = order.number, order.slot, order.task()
    if job.transform is None:
        shape = (len(task.positions), *job.crops.size, 3)
        pixels = buffer.slot(slot, math.prod(shape)).reshape(shape)
        return Answer(number, slot, *job.read(task, pixels))
    result = job.batch(task, own_process=True)
    images, known = result.images, (number, slot, result.damaged, result.timings)
    if isinstance(images, torch.Tensor) and images.nbytes <= buffer.slot_bytes:
        flat = torch.from_numpy(buffer.slot(slot, images.nbytes)).view(images.dtype)
        flat.view(images.shape).copy_(images)
        return Answer(*known, tuple(images.shape), images.dtype)
    return Answer(*known, images=images)


def _failure(order: Order, error: BaseException) -> Answer:
    trace = traceback.format_exc()
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)  # some exceptions pickle and cannot be made again
    except Exception:
        packed = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return Answer(order.number, order.slot, [], Timings(), error=packed, trace=trace)
