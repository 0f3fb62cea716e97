"""`python -m lmdb_reid`: the same as `lmdb-reid`."""

from __future__ import annotations

import sys

from lmdb_reid.cli.__main__ import main

if __name__ == "__main__":  # worker processes import this module too
    sys.exit(main())
