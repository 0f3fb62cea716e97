"""What worker processes cannot import is told before they begin."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from lmdb_reid import ReIDDataset, make_loader
from lmdb_reid.errors import UsageError


def plain(image: object) -> object:
    return image


def read(path: Path, transform: object) -> None:
    with make_loader(
        ReIDDataset(path, transform=transform), 4, engine="processes", num_workers=1
    ) as loader:
        next(iter(loader))


class Locked:
    """Holds what no pickle takes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, image: object) -> object:
        return image


@pytest.mark.parametrize("transform", [lambda image: image, Locked()])
def test_what_cannot_be_pickled_is_told_with_the_cure(transform: object, store_path: Path) -> None:
    with pytest.raises(UsageError, match=r"importable by worker processes.*start_method='fork'"):
        read(store_path, transform)


def test_what_a_notebook_defines_is_told_with_the_cure(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = ModuleType("__main__")
    notebook.augment = plain  # type: ignore[attr-defined]
    monkeypatch.setattr(plain, "__module__", "__main__")
    monkeypatch.setattr(plain, "__qualname__", "augment")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    with pytest.raises(UsageError, match="notebook cell"):
        read(store_path, plain)


def test_a_script_that_is_no_file_is_told(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ModuleType("__main__")
    script.__file__ = "<stdin>"
    monkeypatch.setitem(sys.modules, "__main__", script)
    with pytest.raises(UsageError, match="<stdin> is not a file"):
        read(store_path, plain)
