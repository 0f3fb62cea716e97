"""The order of samples: a pure function of (seed, epoch, position).

A sampler says which positions of a dataset an epoch reads (`Sampler`), `Order` keeps the one of an
epoch, and `Schedule` cuts it into the tasks of a rank.
"""

from lmdb_reid.sampling._order import Order
from lmdb_reid.sampling._pk import PKSampler
from lmdb_reid.sampling._protocol import Sampler, check_epoch, position_seed
from lmdb_reid.sampling._samplers import Sequential, Shuffled, TorchSampler
from lmdb_reid.sampling._schedule import Schedule, Task, Tasks

__all__ = [
    "Order",
    "PKSampler",
    "Sampler",
    "Schedule",
    "Sequential",
    "Shuffled",
    "Task",
    "Tasks",
    "TorchSampler",
    "check_epoch",
    "position_seed",
]
