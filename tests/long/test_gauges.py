"""What the long runs measure: a leak shows, and a flat run passes."""

from __future__ import annotations

import mmap
import os
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.long.gauges import Gauge, descendants, gauge, grown

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
FLAT = Gauge(memory=300_000_000, descriptors=20, threads=5, processes=3, shared=1_000_000)


def test_what_a_process_takes_is_counted() -> None:
    reader, writer = os.pipe()
    child = os.fork()  # first: OpenBLAS ends its threads where a process forks
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    before, over = gauge(os.getpid()), threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    descriptor = os.memfd_create("gauged")
    os.ftruncate(descriptor, 1 << 20)
    memory = mmap.mmap(descriptor, 1 << 20)
    try:
        assert child in descendants(os.getpid())
        with_child, alone = gauge(os.getpid()), gauge(child)
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)
        over.set()
        thread.join()
        memory.close()
        os.close(descriptor)
    after = gauge(os.getpid())
    assert with_child.threads == before.threads + 1
    assert with_child.shared == before.shared + (1 << 20)
    assert with_child.descriptors >= before.descriptors + 1
    assert with_child.processes == before.processes
    assert after.processes == before.processes - 1
    assert (alone.processes, alone.threads) == (1, 1)
    assert with_child.memory > alone.memory > 0


@pytest.mark.parametrize("field", Gauge.__slots__)
def test_what_grows_from_epoch_to_epoch_is_found(field: str) -> None:
    step = 100_000 if field == "memory" else 1
    leaking = [FLAT] * 25
    for number in range(200):
        values = {name: getattr(FLAT, name) for name in Gauge.__slots__}
        leaking.append(Gauge(**(values | {field: values[field] + number * step})))
    (found,) = grown(leaking)
    assert found.startswith(f"{field} grew by ")


def test_a_start_and_noise_are_no_growth() -> None:
    start = Gauge(memory=100, descriptors=3, threads=1, processes=1, shared=0)
    noise = Gauge(memory=302_000_000, descriptors=22, threads=5, processes=3, shared=1_000_000)
    assert grown([start] * 10 + [FLAT, FLAT, noise] * 60) == []
