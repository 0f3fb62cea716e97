"""The laws of `lmdb_reid.sampling.Sampler`."""

from __future__ import annotations

import pickle
import random

import numpy as np

from lmdb_reid.sampling import Sampler

_EPOCHS = 3


class SamplerContract:
    """Subclass it in a test module, under a name that begins with Test."""

    count: int
    """Items of the dataset that the sampler is for."""

    def sampler(self) -> Sampler:
        """The sampler under test, made again with the same arguments."""
        raise NotImplementedError

    def test_it_keeps_the_protocol(self) -> None:
        """Its batch size is None or a whole number from 1 up."""
        sampler = self.sampler()
        assert isinstance(sampler, Sampler)
        assert sampler.batch_size is None or sampler.batch_size >= 1

    def test_positions_are_positions_of_the_dataset(self) -> None:
        """Whole numbers in one dimension, 0..count-1."""
        for epoch in range(_EPOCHS):
            positions = self.sampler().positions(epoch)
            assert positions.ndim == 1
            assert np.issubdtype(positions.dtype, np.integer)
            assert not len(positions) or 0 <= positions.min() <= positions.max() < self.count

    def test_its_length_is_that_of_every_epoch(self) -> None:
        """Known before an epoch is drawn; whole batches where it makes batches."""
        sampler = self.sampler()
        length = len(sampler)
        assert length % (sampler.batch_size or 1) == 0
        for epoch in range(_EPOCHS):
            assert len(sampler.positions(epoch)) == length

    def test_an_epoch_is_a_pure_function_of_its_number(self) -> None:
        """Asked again, in another order, of a new one or of a pickled one."""
        sampler = self.sampler()
        wanted = [sampler.positions(epoch).tolist() for epoch in range(_EPOCHS)]
        others = (sampler, self.sampler(), pickle.loads(pickle.dumps(self.sampler())))
        for other in others:
            for epoch in reversed(range(_EPOCHS)):
                assert other.positions(epoch).tolist() == wanted[epoch]

    def test_global_generators_decide_nothing_and_stay_as_they_are(self) -> None:
        """Neither Python's nor NumPy's."""
        random.seed(1)
        np.random.seed(1)
        states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
        wanted = self.sampler().positions(1).tolist()
        assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # type: ignore[index]
        random.seed(2)
        np.random.seed(2)
        assert self.sampler().positions(1).tolist() == wanted
