"""Rankings: how near the right answers of each query are in a gallery; docs/ranking.md.

Arrays or tensors in, numbers out: it knows no store and no model. Importing this package imports
none of its modules; its names do, when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmdb_reid._lazy import lazy_names

if TYPE_CHECKING:
    from training.ranking.distances import Distances, FeatureDistances, MatrixDistances
    from training.ranking.exports import write_soccernet, write_submission
    from training.ranking.lists import RankList, extreme_queries, rank_lists
    from training.ranking.neighbours import Neighbours, nearest
    from training.ranking.open_set import (
        OpenSetScores,
        Predictions,
        Roc,
        score_open_set,
        tune_open_set,
    )
    from training.ranking.reranking import RerankedDistances, rerank
    from training.ranking.rules import (
        CUHK03,
        MARKET1501,
        SOCCERNET,
        Entries,
        Rules,
        SingleShot,
    )
    from training.ranking.scores import RankScores, rank
    from training.ranking.strips import draw_strips

__all__ = [
    "CUHK03",
    "MARKET1501",
    "SOCCERNET",
    "Distances",
    "Entries",
    "FeatureDistances",
    "MatrixDistances",
    "Neighbours",
    "OpenSetScores",
    "Predictions",
    "RankList",
    "RankScores",
    "RerankedDistances",
    "Roc",
    "Rules",
    "SingleShot",
    "draw_strips",
    "extreme_queries",
    "nearest",
    "rank",
    "rank_lists",
    "rerank",
    "score_open_set",
    "tune_open_set",
    "write_soccernet",
    "write_submission",
]

_MODULES = {
    "distances": ["Distances", "FeatureDistances", "MatrixDistances"],
    "exports": ["write_soccernet", "write_submission"],
    "lists": ["RankList", "extreme_queries", "rank_lists"],
    "neighbours": ["Neighbours", "nearest"],
    "open_set": ["OpenSetScores", "Predictions", "Roc", "score_open_set", "tune_open_set"],
    "reranking": ["RerankedDistances", "rerank"],
    "rules": ["CUHK03", "MARKET1501", "SOCCERNET", "Entries", "Rules", "SingleShot"],
    "scores": ["RankScores", "rank"],
    "strips": ["draw_strips"],
}

if not TYPE_CHECKING:  # or type checkers would take every name
    __getattr__, __dir__ = lazy_names(
        __name__,
        {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names},
    )
