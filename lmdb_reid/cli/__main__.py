"""What `lmdb-reid`, `python -m lmdb_reid` and `python -m lmdb_reid.cli` call."""

from __future__ import annotations

import sys

from lmdb_reid.cli._interrupts import end_at_once


def main() -> int:
    """Run one command and return the exit code."""
    end_at_once()
    from lmdb_reid.cli.main import main as shell  # takes a while, in which Ctrl-C may come

    return shell()


if __name__ == "__main__":  # worker processes import this module too
    sys.exit(main())
