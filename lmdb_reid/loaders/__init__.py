"""Batches from a dataset: `make_loader` and the engines behind it."""

from lmdb_reid.loaders._engine import Batch, Engine, Task
from lmdb_reid.loaders._loader import Loader
from lmdb_reid.loaders._make import make_loader
from lmdb_reid.loaders._stats import Moment

__all__ = ["Batch", "Engine", "Loader", "Moment", "Task", "make_loader"]
