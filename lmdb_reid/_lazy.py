"""Public names that are imported when they are first asked for.

So that looking into a store does not load torch, nor `lmdb-reid --help` anything at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import FrameType
from typing import Any

from lmdb_reid._names import unknown_name
from lmdb_reid.errors import MissingExtraError

EXTRAS = {
    "resize": {"cv2": "opencv"},
    "build": {"PIL": "pillow", "pandas": "pandas"},
    "video": {"av": "av"},
    "plot": {"matplotlib": "matplotlib"},
    "train": {
        "torch": "torch",
        "lightning": "lightning",
        "pytorch_lightning": "lightning",
        "jsonargparse": "jsonargparse",
        "torchmetrics": "lightning",  # which needs it
    },
    "torch": {"torch": "torch"},
    "completion": {"shtab": "shtab"},
}
"""{extra: {module: the package that brings it}}; `notebook` has what resize and build have. Of
several extras with one module the last one is the smallest, and errors name it."""
EXTRA_OF_MODULE = {module: extra for extra, modules in EXTRAS.items() for module in modules}
"""Which extra brings a module."""


def lazy_names(
    package: str, modules: Mapping[str, str], answers: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__`, which takes each name from the module given for it, and its
    `__dir__`, which shows these names before any of them was asked for.

    Args:
        package: the package's name.
        modules: {name: the module that has it}.
        answers: what to write instead of names that others would guess: full sentences.

    Raises (when a name is asked for):
        UnknownNameError: the package has no such name; says what to write, or the nearest name.
        ImportError: likewise, where it is imported.
        MissingExtraError: what the name needs is not installed.
    """

    def __getattr__(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            error = unknown_name(package, name, modules, answers or {})
            if _is_import(sys._getframe(1)):
                # Of an AttributeError Python would keep nothing but the name.
                raise ImportError(f"cannot import {name!r}: {error}", name=package) from None
            raise error
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in EXTRA_OF_MODULE:
                raise
            raise MissingExtraError.of(missing, EXTRA_OF_MODULE[missing], name) from None

    def __dir__() -> list[str]:
        return sorted(modules)

    return __getattr__, __dir__


def _is_import(frame: FrameType) -> bool:
    """Whether the code that runs asks for a name by `from package import name`."""
    import dis  # a tenth of the time that importing this package takes, for an error

    return frame.f_code.co_code[frame.f_lasti] == dis.opmap["IMPORT_FROM"]
