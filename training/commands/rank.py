"""`lmdb-reid rank`: how near the right pictures of a gallery are to each query."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmdb_reid.cli.output import print_json, print_lines
from lmdb_reid.errors import FeaturesError, UsageError
from lmdb_reid.store import Store
from training.commands.embed import add_reading, check_file, embed_store, read_checkpoint

if TYPE_CHECKING:
    from training.evaluation import Evaluation
    from training.features import Features
    from training.ranking import RankList
    from training.splits import Split

_METRICS = ("cosine", "euclidean")
_RULES = ("market1501", "cuhk03", "soccernet")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("store", metavar="STORE", help="the store's directory")
    of = parser.add_mutually_exclusive_group(required=True).add_argument
    of(
        "--features",
        metavar="NAME",
        help="rank features by their name in STORE.features, or a .npy with a row for each sample",
    )
    of(
        "--ckpt",
        metavar="FILE",
        help="compute the features with this checkpoint, unless they exist",
    )
    add(
        "--split",
        metavar="FILE",
        help="use this .json or .csv of lmdb-reid split or train (default: the store's own column)",
    )
    add(
        "--parts",
        nargs=2,
        metavar=("QUERY", "GALLERY"),
        help="rank these parts of the split (default: query and gallery, or val and train)",
    )
    add(
        "--metric",
        choices=_METRICS,
        help="use this distance (default: the one saved with the features, or euclidean)",
    )
    add(
        "--rules",
        choices=_RULES,
        default="market1501",
        help="rank by this protocol, see docs/ranking.md (default: market1501)",
    )
    add("--rerank", action="store_true", help="re-rank by k-reciprocal neighbours")
    add("--strips", metavar="FILE", help="draw the best and the worst rank lists, .jpg or .png")
    add(
        "--ranking",
        metavar="FILE",
        help="write SoccerNet-ReID's ranking json from the column bbox (needs --rules soccernet)",
    )
    add(
        "--count",
        type=int,
        default=6,
        metavar="N",
        help="let --strips draw the N best and the N worst lists (default: 6)",
    )
    add_reading(parser)
    add("--json", action="store_true", help="print the scores as JSON")
    parser.epilog = """examples:
  lmdb-reid rank market.lmdb --ckpt runs/fold0/checkpoints/best.ckpt
  lmdb-reid rank games.lmdb --features fold0 --split split.json --strips lists.jpg"""


def run(args: argparse.Namespace) -> int:
    """Rank, print the scores, draw the lists."""
    if args.count < 1:
        raise UsageError(f"--count must be 1 or more, got {args.count}")
    if args.strips and Path(args.strips).suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise UsageError(f"--strips must end in .jpg or .png, got {args.strips}")
    if args.ranking and args.rules != "soccernet":
        raise UsageError("--ranking needs --rules soccernet")
    if args.ckpt is not None:
        check_file(args.ckpt)
    # Here, so that --help and wrong use need not wait seconds for torch.
    from training import ranking
    from training.evaluation import evaluate

    with Store(args.store) as store:
        split = _split(store, args.split)
        features = _features(store, args)
        found = evaluate(
            store,
            features,
            split,
            parts=None if args.parts is None else tuple(args.parts),
            metric=args.metric or features.made_by.get("metric", "euclidean"),
            rules=getattr(ranking, args.rules.upper()),
            reranked=args.rerank,
        )
        if args.strips:
            _draw(store, features, found, args.strips, args.count)
        if args.ranking:
            _write_ranking(store, found, args.ranking)
    if args.json:
        print_json(_summary(args, features, found))
    else:
        print_lines(_lines(args, features, found))
    return 0


def _features(store: Store, args: argparse.Namespace) -> Features:
    from training.features import Features

    if args.features is not None:
        return Features.load(store, args.features)
    checkpoint = read_checkpoint(args)
    name = f"{Path(checkpoint.name).stem}-{checkpoint.sha256[:12]}"
    try:
        return Features.load(store, name, made_by=checkpoint.made_by)
    except FeaturesError:  # none there, or of another store that had this place
        return embed_store(store, checkpoint, name, args)


def _split(store: Store, path: str | None) -> Split:
    """The split of a file, or what the store's column of that role says."""
    import numpy as np

    from training.splits import Split, load_split

    if path is not None:
        return load_split(path, store.ids)
    column = store.roles.split
    words = None if column is None else store.columns.categories(column)
    if column is None or words is None:
        raise UsageError(
            f"{store.path} has no column that says what is query and gallery. Use"
            " --split with a file of lmdb-reid split"
        )
    codes = store.columns[column]
    parts = {word: np.flatnonzero(codes == code) for code, word in enumerate(words) if word}
    return Split(parts={word: rows for word, rows in parts.items() if len(rows)}, labels=[])


def _draw(store: Store, features: Features, found: Evaluation, path: str, count: int) -> None:
    from training.ranking import draw_strips

    labels = store.columns[store.roles.identity]

    def captions(one: RankList) -> list[str]:
        precision = found.scores.average_precision[one.query]
        entries = zip(found.gallery_rows[one.rows], one.distances, strict=True)
        return [
            f"label {labels[found.query_rows[one.query]]} · AP {precision:.0%}",
            *(f"label {labels[row]} · {distance:.3f}" for row, distance in entries),
        ]

    best, worst = found.extremes(count)
    picture = draw_strips(
        [*best, *worst],
        lambda row: store.at(int(found.query_rows[row])).image,
        lambda row: store.at(int(found.gallery_rows[row])).image,
        captions=captions,
        title=f"{store.path.name} · {features.name} · mAP {found.scores.mAP:.1%}",
        groups=["the best rank lists"] * len(best) + ["the worst rank lists"] * len(worst),
    )
    picture.save(path)


def _write_ranking(store: Store, found: Evaluation, path: str) -> None:
    from training.ranking import write_soccernet

    assert found.query.groups is not None and found.gallery.groups is not None
    numbers = store.columns.get("bbox")
    ids = [
        None if numbers is None else numbers[rows]
        for rows in (found.query_rows, found.gallery_rows)
    ]
    write_soccernet(
        path,
        found.distances,
        found.query.groups,
        found.gallery.groups,
        query_ids=ids[0],
        gallery_ids=ids[1],
    )


def _summary(args: argparse.Namespace, features: Features, found: Evaluation) -> dict[str, Any]:
    return {
        "store": args.store,
        "features": {
            "path": str(features.path),
            "numbers": features.array.shape[1],
            "made_by": dict(features.made_by),
        },
        "split": args.split,
        **found.summary(),
        "strips": args.strips,
    }


def _lines(args: argparse.Namespace, features: Features, found: Evaluation) -> list[str]:
    scores = found.scores
    counts = [f"{len(rows):,}" for rows in (found.query_rows, found.gallery_rows)]
    maker = features.made_by.get("checkpoint")
    reranked = ", re-ranked" if found.is_reranked else ""
    lines = [
        (
            f"queries    {counts[0]} ({found.parts[0]}), {scores.left_out:,} of them"
            " left out: no match in the gallery"
        ),
        f"gallery    {counts[1]} ({found.parts[1]}), {scores.gallery:,} compared",
        f"features   {features.name}, {features.array.shape[1]} numbers"
        + (f", by {maker}" if maker else ""),
        f"distance   {found.metric}{reranked}",
        f"rules      {args.rules}: {_rules(found)}",
        "",
        *(f"{name:<10} {share:>7.2%}" for name, share in _table(found)),
    ]
    if scores.tied:
        lines.append(f"{scores.tied:,} queries have a wrong picture exactly as near as a right one")
    if found.open_set is not None:
        of = found.open_set
        lines += [
            "",
            f"open set   {of.known:,} known, {of.unknown:,} unknown, and as many again to tune the"
            f" threshold, {of.threshold:.4f}",
            *(
                f"{name:<10} {share:>7.2%}"
                for name, share in (
                    ("macro F1", of.macro_f1),
                    ("BAKS", of.baks),
                    ("BAUS", of.baus),
                    ("ROC area", of.auc),
                )
            ),
        ]
    if args.strips:
        lines += ["", f"rank lists on {args.strips}: the best, then the worst, by label"]
    if args.ranking:
        lines.append(f"ranking in {args.ranking}")
    return lines


def _table(found: Evaluation) -> list[tuple[str, float]]:
    scores = found.scores
    cmc = [(f"CMC-{rank}", share) for rank, share in scores.cmc.items()]
    return [("mAP", scores.mAP), ("mINP", scores.mINP), *cmc]


def _rules(found: Evaluation) -> str:
    rules = found.scores.rules
    words = []
    if found.scores.same_camera:
        words.append("the query's identity by its own camera is left out")
    elif rules.same_camera:
        words.append(f"without cameras ({found.why_no_cameras})")
    if rules.within_group:
        words.append("within a group")
    if rules.single_shot is not None:
        words.append(f"CMC of one picture of each identity, {rules.single_shot.repeats} draws")
    return ", ".join(words)
