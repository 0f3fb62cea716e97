"""Whether a job can be sent to worker processes: told before they die of it."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from lmdb_reid.errors import UsageError
from lmdb_reid.loaders._job import Job

_CURE = (
    "Write it into a module, a .py file, and import it from there; or use"
    " start_method='fork', or engine='threads'"
)


def check_sendable(job: Job) -> None:
    """See that workers which begin afresh can make the job again.

    Raises:
        UsageError: it has a part that is known to this process alone, such as a lambda or what a
            notebook's cell defines.
    """
    try:
        sent = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"a transform must be importable by worker processes, and this one is not: {error}."
            f" {_CURE}"
        ) from error
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None:  # python -m
        return
    file = getattr(main, "__file__", None)
    if file is None and b"__main__" in sent:
        raise UsageError(
            "a transform must be importable by worker processes; they cannot import what a notebook"
            f" cell or a console (__main__) defines. {_CURE}"
        )
    if file is not None and not Path(file).exists():
        raise UsageError(
            f"worker processes run the main script once more, and {file} is not a file."
            " Start it from a .py file, or use start_method='fork', or engine='threads'"
        )
