"""`python -m builders.game OUT`: draws a game."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from builders.game._game import draw_game
from lmdb_reid.errors import LmdbReidError, UsageError
from lmdb_reid.schema import parse_size


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m builders.game OUT`: draws a game; 0 done, 1 not possible, 2 wrong use."""
    parser = argparse.ArgumentParser(
        prog="python -m builders.game",
        description="Draw a game: images/ and train_meta.csv in the atmaCup layout.",
        epilog="example: python -m builders.game data/demo --quarters 4 --frames 12",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to draw into")
    parser.add_argument("--quarters", type=int, default=4)
    parser.add_argument("--frames", type=int, default=12, help="of each quarter and angle")
    parser.add_argument("--size", default="720x1280", metavar="HxW", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG files, 1 to 100")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier game")
    settings = vars(parser.parse_args(argv))
    try:
        size = parse_size(settings.pop("size"))
        if size is None:
            raise UsageError("--size must be HxW for a drawn game, got native")
        game = draw_game(settings.pop("out"), size=size, **settings)
    except LmdbReidError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(f"drew {game.frames} pictures with {game.boxes} boxes: {game.train_meta}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
