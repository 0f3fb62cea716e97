"""Batches from crops: `make_loader`, and the engines behind it.

dataset ─► Selection(crops, labels, rows, columns, transform)
sampler ─► Order ─► Schedule ─► tasks
                                  │
   engine (threads, processes, dataloader, resident, device decode): tasks ─► BatchResult
                                  │   images alone: crops read, transformed
   Loader: labels, rows and columns of the task's positions are put beside them
                                  │
   Transfer: to the device; the one place that converts and normalises ─► Batch
"""

from lmdb_reid.loaders._batch import Batch, BatchResult, Damaged, Timings
from lmdb_reid.loaders._config import DeviceConfig, LoaderConfig, Normalize, device_of
from lmdb_reid.loaders._engine import Engine
from lmdb_reid.loaders._loader import Loader
from lmdb_reid.loaders._make import make_loader
from lmdb_reid.loaders._plan import Plan
from lmdb_reid.loaders._stats import Moment

__all__ = [
    "Batch",
    "BatchResult",
    "Damaged",
    "DeviceConfig",
    "Engine",
    "Loader",
    "LoaderConfig",
    "Moment",
    "Normalize",
    "Plan",
    "Timings",
    "device_of",
    "make_loader",
]
