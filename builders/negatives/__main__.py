"""`python -m builders.negatives`: the same as `lmdb-reid negatives`."""

from __future__ import annotations

import sys

from lmdb_reid.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["negatives", *sys.argv[1:]]))
