"""The laws of what users may implement, as tests to subclass.

from lmdb_reid.testing import CropsContract

class TestMyCrops(CropsContract):
    def crops(self): return MyCrops(...)
    def pixels(self, position): return ...  # what it must give, got by another way
"""

from lmdb_reid.testing._crops import CropsContract
from lmdb_reid.testing._sampler import SamplerContract

__all__ = ["CropsContract", "SamplerContract"]
