"""Protocols know wrappers that hand members over by `__getattr__`, with every Python."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytest

from lmdb_reid._protocols import Delegating

ROOT = Path(__file__).resolve().parents[3]


@runtime_checkable
class Reader(Protocol, metaclass=Delegating):
    """Something with a method and a value."""

    @property
    def limit(self) -> int | None: ...

    def read(self) -> str: ...


class Plain:
    """Follows the protocol by its names alone."""

    limit = None

    def read(self) -> str:
        return "plain"


class Named(Reader):
    """Follows the protocol by its base."""

    @property
    def limit(self) -> int | None:
        return 3

    def read(self) -> str:
        return "named"


class Wrapper:
    """Hands over what it does not have."""

    def __init__(self, inner: object) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Mute(Wrapper):
    """Has no method of that name, whatever it wraps."""

    read = None


@pytest.mark.parametrize("one", [Plain(), Named(), Wrapper(Plain()), Wrapper(Wrapper(Named()))])
def test_what_has_all_members_follows_a_protocol(one: object) -> None:
    assert isinstance(one, Reader)


@pytest.mark.parametrize("one", [object(), Wrapper(object()), Mute(Plain()), None, 3])
def test_what_lacks_a_member_does_not(one: object) -> None:
    assert not isinstance(one, Reader)


def test_a_class_that_follows_a_protocol_knows_its_own_alone() -> None:
    assert isinstance(Named(), Named)
    assert not isinstance(Plain(), Named)
    assert not isinstance(Wrapper(Named()), Named)


def _modules_with_runtime_protocols() -> list[str]:
    files = (
        file
        for package in ("lmdb_reid", "builders", "training")
        for file in sorted((ROOT / package).rglob("*.py"))
        if "@runtime_checkable" in file.read_text(encoding="utf-8")
    )
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]


@pytest.mark.parametrize("name", _modules_with_runtime_protocols())
def test_every_protocol_that_isinstance_asks_for_is_such_a_one(name: str) -> None:
    module = importlib.import_module(name)
    found = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == name and getattr(kind, "_is_runtime_protocol", False)
    ]
    asked = [kind for kind in found if getattr(kind, "_is_protocol", False)]
    assert asked
    assert all(isinstance(kind, Delegating) for kind in asked)
