"""One case whose scores by published code are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from training.ranking import Entries


@dataclass(frozen=True, kw_only=True)
class Case:
    """12 queries, 60 gallery entries, 8 numbers each; no two distances of a query are nearer to
    each other than 3e-5. The last query is of nobody in the gallery, gallery identity 8 is asked
    for by none.
    """

    query_features: np.ndarray[Any, np.dtype[np.float32]]
    gallery_features: np.ndarray[Any, np.dtype[np.float32]]
    query: Entries
    gallery: Entries


@pytest.fixture(scope="session")
def case() -> Case:
    number = np.arange(1, 9)[None]
    query_labels, gallery_labels = np.arange(12) * 5 % 8, np.arange(60) * 7 % 9
    query_labels[11] = 9

    def features(start: float, step: float, labels: np.ndarray[Any, Any]) -> Any:
        rows = np.arange(1, len(labels) + 1)[:, None]
        own = 1.2 * np.sin((labels[:, None] + 1) * number * 0.9)
        return (np.sin(rows * number * step + start) + own).astype(np.float32)

    return Case(
        query_features=features(0, 1.7, query_labels),
        gallery_features=features(1, 2.3, gallery_labels),
        query=Entries(labels=query_labels, cameras=np.arange(12) % 3, groups=np.arange(12) // 4),
        gallery=Entries(
            labels=gallery_labels, cameras=np.arange(60) // 4 % 4, groups=np.arange(60) // 20
        ),
    )
