"""How pandas keeps the texts of tables while a source is read."""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from typing import Any

import pandas as pd

_OPTION = "mode.string_storage"


class PythonTexts(ContextDecorator):
    """A block, or a function, in which pandas keeps texts as Python's strings, as it does where
    pyarrow is not installed.

    Arrow reserves a gigabyte of addresses for its first text; a build under a limit of memory
    would fail there, and only where pyarrow happens to be installed. The option is the process's:
    the first of several threads sets it, the last puts it back.
    """

    _lock = threading.Lock()
    _users = 0
    _before: Any = None

    def __enter__(self) -> None:
        cls = PythonTexts
        with cls._lock:
            if not cls._users:
                cls._before = pd.get_option(_OPTION)
                pd.set_option(_OPTION, "python")
            cls._users += 1

    def __exit__(self, *error: object) -> None:
        cls = PythonTexts
        with cls._lock:
            cls._users -= 1
            if not cls._users:
                pd.set_option(_OPTION, cls._before)
