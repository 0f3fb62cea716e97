"""Public names that are imported when they are first asked for.

So that looking into a store does not load torch, nor `lmdb-reid --help` anything at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from lmdb_reid.errors import MissingExtraError

EXTRA_OF_MODULE = {
    "PIL": "build",
    "cv2": "resize",
    "jsonargparse": "train",
    "lightning": "train",
    "pandas": "build",
    "pytorch_lightning": "train",
    "torch": "train",
    "torchmetrics": "train",
    "tqdm": "build",
}
"""Which extra brings a package."""


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: each name is taken from the module given for it.

    Raises (when a name is asked for):
        AttributeError: the package has no such name.
        MissingExtraError: what the name needs is not installed.
    """

    def __getattr__(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in EXTRA_OF_MODULE:
                raise
            raise MissingExtraError.of(missing, EXTRA_OF_MODULE[missing], name) from None

    return __getattr__
