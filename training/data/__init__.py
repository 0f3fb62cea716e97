"""Lightning data modules over a store, or over samples of another kind.

Samples ─► a rule (training.splits) ─► parts ─► Loading ─► loaders of Batch
"""

from training.data._deal import Chosen, deal
from training.data._lightning import DataModule
from training.data._loading import EngineName, Loading, Normalize, SamplerOf
from training.data._module import SPLIT_CSV, StoreData
from training.data._samples import Samples, StoreSamples

__all__ = [
    "SPLIT_CSV",
    "Chosen",
    "DataModule",
    "EngineName",
    "Loading",
    "Normalize",
    "SamplerOf",
    "Samples",
    "StoreData",
    "StoreSamples",
    "deal",
]
