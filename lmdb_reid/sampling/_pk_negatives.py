"""The negatives of batches."""

from __future__ import annotations

import numpy as np

from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Rows

_TAG = 0x6E6567  # keeps these draws apart from those of the identities


class Negatives:
    """Negatives, so many for each batch, none twice in one unless there are too few.

    Args:
        positions: int64 [N], of all negatives.
        share: of a batch, from 0 to under 1.
        beside: the other samples of a batch.
        seed: of all draws.

    Raises:
        UsageError: a share out of range, or of no negatives.
    """

    def __init__(self, positions: Rows, *, share: float, beside: int, seed: int) -> None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise UsageError(
                f"PKSampler's negatives must be a share from 0 to under 1; got {share!r}"
            )
        if share and not len(positions):
            raise UsageError(
                f"PKSampler(negatives={share!r}) needs samples of label -1, got none."
                " Include them in the dataset's rows"
            )
        self.positions = positions
        self.count = max(1, round(beside * share / (1 - share))) if share else 0
        """In a batch."""
        self._seed = seed

    def drawn(self, epoch: int, batches: int) -> Rows:
        """Those of an epoch's batches, int64 [batches, count]."""
        wanted, there = batches * self.count, len(self.positions)
        if wanted <= there:
            # A window of one order of all, that moves on from epoch to epoch, shuffled.
            order = np.random.default_rng([self._seed, _TAG]).permutation(there)
            window = order[(epoch * wanted + np.arange(wanted)) % there]
            draw = np.random.default_rng([self._seed, epoch, _TAG])
            shuffled: Rows = self.positions[draw.permutation(window)]
            return shuffled.reshape(batches, -1)
        draw = np.random.default_rng([self._seed, epoch, _TAG])
        if self.count > there:  # a batch has all of them, some again
            passes = [np.resize(draw.permutation(there), self.count) for _ in range(batches)]
            return self.positions[np.stack(passes)]
        found = np.empty(0, np.int64)
        while len(found) < wanted:
            order = draw.permutation(there)
            begun = found[len(found) - len(found) % self.count :]
            if len(begun):  # a batch that is begun must not get the same again
                is_there = np.isin(order, begun)
                order = np.concatenate([order[~is_there], order[is_there]])
            found = np.concatenate([found, order])
        return self.positions[found[:wanted]].reshape(batches, -1)
