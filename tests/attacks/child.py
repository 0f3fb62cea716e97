"""Runs the attacks of one area, one after the other, in a process of its own with limits.

    python child.py AREA FOLDER [NAME]    from the attack NAME on

An area is a module beside this one with `ATTACKS`: by name, what is called with a new folder. It
may raise an error of ours, or return where the answer was right; everything else is a finding. A
line of JSON is printed before each attack, and one after it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from lmdb_reid.errors import LmdbReidError

SECONDS = 10
MEMORY = 1 << 30
"""Bytes of address space beyond those of the process when it begins."""


def run(area: str, folder: Path, begin: str = "") -> None:
    attacks = importlib.import_module(area).ATTACKS
    names = list(attacks)
    for name in names[names.index(begin) if begin else 0 :]:
        print(json.dumps({"begun": name}), flush=True)
        own = Path(tempfile.mkdtemp(dir=folder))
        began, processor = time.monotonic(), time.process_time()
        # Of these it dies: of its own time, so that a busy machine decides nothing, or of waiting.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(12 * SECONDS)
        try:
            attacks[name](own)
            outcome = "answered"
        except LmdbReidError as error:
            outcome = "typed" if str(error) else f"{type(error).__name__} without a message"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"[:300]
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        took = {"seconds": time.monotonic() - began, "processor": time.process_time() - processor}
        print(json.dumps({"name": name, "outcome": outcome, **took}), flush=True)
        shutil.rmtree(own, ignore_errors=True)


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    importlib.import_module(sys.argv[1])
    limit_memory()
    run(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
