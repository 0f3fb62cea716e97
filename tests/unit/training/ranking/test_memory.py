"""Large rankings fit into the memory that they may take, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import resource, sys
import numpy as np
from training.ranking import Entries, FeatureDistances, rank, rerank

queries, gallery, reranked = map(int, sys.argv[1:])
random = np.random.default_rng(0)
features = [random.standard_normal((count, 512), np.float32) for count in (queries, gallery)]
sides = [Entries(labels=random.integers(0, 751, count)) for count in (queries, gallery)]
scores = rank((rerank if reranked else FeatureDistances)(*features), *sides)
assert scores.queries == queries
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(*words: int) -> int:
    """The greatest resident memory, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_20_000_queries_of_200_000_pictures_fit_into_4_gb() -> None:
    # Queries are scored in blocks: fewer than 20,000 take as much, but for their own features.
    assert peak(1_000, 200_000, 0) < 4e9 - 19_000 * 512 * 4


@pytest.mark.slow
def test_re_ranking_market_1501_fits_into_2_gb() -> None:
    assert peak(3_368, 15_913, 1) < 2e9
