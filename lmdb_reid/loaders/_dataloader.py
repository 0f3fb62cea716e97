"""The engine that is torch's own DataLoader: persistent workers, prefetching, pinned memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lmdb_reid.errors import LmdbReidError, ResourceError, WorkerDiedError
from lmdb_reid.loaders._batch import BatchResult
from lmdb_reid.loaders._engine import CPU
from lmdb_reid.loaders._job import Job
from lmdb_reid.loaders._pinning import is_cut_off
from lmdb_reid.loaders._plan import Footprint
from lmdb_reid.sampling import Task

# Of a forked child: loaders of its parent, and their iterators. When torch's go, they end the
# parent's workers, so they never go.
_PARENTS: list[Any] = []
# Engines by the numbers of their workers.
_ENGINES: weakref.WeakValueDictionary[int, DataLoaderEngine] = weakref.WeakValueDictionary()
_HANDLER: dict[str, Any] = {}
_SEGMENTS = Path("/dev/shm")
_AGAIN = 0.02  # seconds until an error that would be ignored is raised once more


class DataLoaderEngine:
    """torch.utils.data.DataLoader whose items are whole batches; see `Engine`.

    Args:
        job: what to read; it is pickled to the workers.
        num_workers: processes; 0 works in the caller's thread.
        prefetch: batches made ahead of the consumer, in total.
        pin: page-locked memory, for a GPU.
        persistent: keep the processes from one pass to the next.
    """

    name = "dataloader"
    device = CPU
    places = True

    def __init__(
        self, job: Job, *, num_workers: int, prefetch: int, pin: bool, persistent: bool = True
    ) -> None:
        self._job = job
        self._tasks = _Tasks()
        self._settings: dict[str, Any] = {
            "num_workers": num_workers,
            "persistent_workers": persistent and num_workers > 0,
            "prefetch_factor": -(-prefetch // num_workers) if num_workers else None,
            "pin_memory": pin,
            "worker_init_fn": _end_with_parent,
        }
        self.workers: set[int] = set()
        """Processes of the last pass; none where one of them is known to have ended."""
        self._pid = os.getpid()
        self._loader: DataLoader[BatchResult | LmdbReidError] | None = None
        self._lost: set[int] = set()  # workers of loaders of which one was killed
        self._made = time.time()

    def run(self, tasks: Sequence[Task]) -> Generator[BatchResult, None, None]:
        """One pass; see `Engine`."""
        self._tasks.current = tasks
        iterator, pid = None, os.getpid()
        try:
            iterator = self._begin()
            self.workers = {worker.pid for worker in getattr(iterator, "_workers", ())}
            _raise_deaths_typed(self, self.workers)
            for result in iterator:
                if isinstance(result, LmdbReidError):
                    raise result
                yield result
                del result  # or its memory could not go while the next is waited for
        except WorkerDiedError as error:  # raised by the handler, inside torch
            _let_go(error)
            raise
        except (LmdbReidError, GeneratorExit):
            raise
        except KeyboardInterrupt:
            self._loader = None  # it may have been cut anywhere inside torch
            raise
        except (OSError, RuntimeError, EOFError) as error:
            if "Too many open files" in str(error):
                raise ResourceError(
                    f"too many open files with {self._settings['num_workers']} worker processes:"
                    " reduce num_workers, allow more files with `ulimit -n 4096`, or take"
                    " engine='processes', whose batches need none (lmdb-reid doctor prints the"
                    " limit)"
                ) from error
            if not _is_death(error):
                raise
            _let_go(error)
            raise self.death(error) from error
        finally:
            if pid != os.getpid():
                _PARENTS.append(iterator)
            del iterator  # a traceback may keep this frame

    def _begin(self) -> Iterator[BatchResult | LmdbReidError]:
        """A pass of torch's loader. Where an interrupt cuts its beginning, workers and consumer no
        longer agree on what comes next: the next pass makes new ones.

        Workers that ended between two passes had nothing to do, so new ones begin this pass: an
        interrupt in Jupyter reaches all processes of a kernel, whatever the cell does then.
        """
        kept = self._loader if self._pid == os.getpid() else None
        try:
            return iter(self._new_loader() if kept is None else kept)
        except BaseException as error:
            self._loader, self.workers = None, set()
            if kept is None or not (isinstance(error, Exception) and _is_death(error)):
                raise
        try:
            return iter(self._new_loader())
        except BaseException:
            self._loader = None
            raise

    def _new_loader(self) -> DataLoader[BatchResult | LmdbReidError]:
        self.close()
        self._pid = os.getpid()
        settings = self._settings
        if is_cut_off():
            settings = settings | {"pin_memory": False}
        self._loader = DataLoader(
            _Batches(self._job), batch_size=None, sampler=self._tasks, **settings
        )
        return self._loader

    def footprint(self, batch_size: int) -> Footprint:
        """See `Engine`: torch makes each batch again."""
        shape, dtype, _ = self._job.batch_layout(batch_size)
        copies = [] if self._job.transform is None else ["stack the transformed images"]
        if self._settings["num_workers"]:
            copies.append("into shared memory")
        if self._settings["pin_memory"]:
            copies.append("into page-locked memory")
        return Footprint(shape, dtype, copies=tuple(copies))

    def ready(self) -> None:
        """See `Engine`: torch does not say."""
        return None

    def buffers(self) -> None:
        """See `Engine`: torch makes each batch again."""
        return None

    def death(self, error: BaseException) -> WorkerDiedError:
        """The error for a worker that ended. The next pass makes another loader."""
        self._lost |= self.workers
        self._loader, self.workers = None, set()
        self._remove_segments()
        return WorkerDiedError(
            f"a worker process of torch's DataLoader ended: {error}. The next pass starts new ones"
        )

    def close(self) -> None:
        """End the worker processes; a forked child leaves those of its parent alone."""
        if self._loader is not None and self._pid != os.getpid():
            _PARENTS.append(self._loader)
        self._loader = None  # its iterator stops the workers when it goes
        self._remove_segments()

    def _remove_segments(self) -> None:
        """Remove names of shared memory that killed workers left: torch gives a segment a name, and
        takes it away again at once, but a kill can come between the two.
        """
        for pid in [*self._lost]:
            try:
                runs = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            except ChildProcessError:  # it has been waited for
                runs = False
            if runs:
                continue
            self._lost.discard(pid)
            for segment in _SEGMENTS.glob(f"torch_{pid}_*"):
                with contextlib.suppress(OSError):  # another user's, or one of another container
                    if segment.stat().st_ctime >= self._made:
                        segment.unlink()


def _let_go(error: BaseException) -> None:
    """Take torch's iterator from an error's frames: workers forked next would end it."""
    traceback.clear_frames(error.__traceback__)


def _is_death(error: BaseException) -> bool:
    """Whether an error means that a worker process is gone."""
    if isinstance(error, ConnectionError | EOFError):
        return True
    return re.search(r"DataLoader worker (\(pid|exited)", str(error)) is not None


def _raise_deaths_typed(engine: DataLoaderEngine, workers: set[int]) -> None:
    """Torch's handler of SIGCHLD raises a RuntimeError wherever the main thread is, such as in the
    body of the consumer's loop. Where a worker of an engine ended, it is a WorkerDiedError, once.
    """
    _ENGINES.update(dict.fromkeys(workers, engine))
    torchs = signal.getsignal(signal.SIGCHLD)
    if (
        not workers
        or not callable(torchs)
        or torchs is _HANDLER.get("ours")
        or threading.current_thread() is not threading.main_thread()
    ):
        return

    def raise_typed(number: int, frame: FrameType | None) -> None:
        if _is_ignored(frame):
            again = threading.Timer(_AGAIN, signal.pthread_kill, (threading.get_ident(), number))
            again.daemon = True
            again.start()
            return
        try:
            torchs(number, frame)
        except RuntimeError as error:
            found = re.search(r"DataLoader worker \(pid\D* (\d+)", str(error))
            pid = int(found[1]) if found else 0
            ended = _ENGINES.get(pid)
            if ended is None:
                raise
            if pid in ended.workers:  # else it was raised in the pass
                raise ended.death(error) from error

    _HANDLER["ours"] = raise_typed
    signal.signal(signal.SIGCHLD, raise_typed)


def _is_ignored(frame: FrameType | None) -> bool:
    """Whether Python would ignore an error that is raised now: in a finalizer."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False


def _end_with_parent(_: int) -> None:
    """In a worker: end as soon as the consumer's process is gone. Torch looks every 5 s alone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


class _Tasks(Sampler[Task]):
    """The tasks of the pass at hand; read in the consumer's process."""

    def __init__(self) -> None:
        self.current: Sequence[Task] = ()

    def __iter__(self) -> Iterator[Task]:
        return iter(self.current)

    def __len__(self) -> int:
        return len(self.current)


class _Batches(Dataset[BatchResult | LmdbReidError]):
    """Indexed by task: makes the images of that batch, in whichever process it is asked."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __getitem__(self, task: Task) -> BatchResult | LmdbReidError:
        in_worker = torch.utils.data.get_worker_info() is not None
        try:
            return self._job.batch(task, own_process=in_worker)
        except LmdbReidError as error:  # torch would make it again from its message alone
            return error
