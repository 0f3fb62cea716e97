"""Calls with an argument that does not exist: the error says what to write."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from lmdb_reid._names import did_you_mean
from lmdb_reid.errors import UnknownArgumentError

_Taken = ParamSpec("_Taken")
_Given = TypeVar("_Given")
_Class = TypeVar("_Class")

_FIRST = ("self", "_cls")  # of a method, and of a named tuple's `__new__`


def known_arguments(
    *, works: Mapping[str, str] | None = None, answers: Mapping[str, str] | None = None
) -> Callable[[Callable[_Taken, _Given]], Callable[_Taken, _Given]]:
    """Decorates a function: an unknown keyword is an error of ours, with the right one.

    Args:
        works: names that other libraries have for an argument, each with ours.
        answers: what to write instead of an argument: a full sentence.

    Raises (when the function is called):
        UnknownArgumentError: no argument of that name.
    """
    ours, sentences = works or {}, answers or {}

    def decorate(function: Callable[_Taken, _Given]) -> Callable[_Taken, _Given]:
        names = inspect.signature(function).parameters
        parameters = [name for name in names if name not in _FIRST]
        known = frozenset(parameters)
        makes = function.__name__ in ("__init__", "__new__")

        @functools.wraps(function)
        def called(*args: _Taken.args, **kwargs: _Taken.kwargs) -> _Given:
            if known.issuperset(kwargs):
                return function(*args, **kwargs)
            what = _class_of(args[0]).__name__ if makes and args else function.__qualname__
            return function(*args, **renamed(what, kwargs))

        def renamed(what: str, given: Mapping[str, Any]) -> dict[str, Any]:
            right = {name: value for name, value in given.items() if name in known}
            for name in given.keys() - known:
                if ours.get(name, name) in (name, *right):
                    answer = sentences.get(name) or did_you_mean(name, parameters).strip()
                    raise UnknownArgumentError(
                        f"{what} has no argument {name!r}. {answer}".rstrip()
                        + f" It takes {', '.join(parameters)}."
                    )
                right[ours[name]] = given[name]
            return right

        return called

    return decorate


def known_fields(made: type[_Class]) -> type[_Class]:
    """Decorates a dataclass, or a named tuple: an unknown field is an error of ours, with the right
    one.
    """
    how = "__new__" if issubclass(made, tuple) else "__init__"
    checked = known_arguments()(getattr(made, how))
    setattr(made, how, staticmethod(checked) if how == "__new__" else checked)
    return made


def _class_of(first: Any) -> type:
    """Of what `__init__` or `__new__` has as its first argument."""
    return first if isinstance(first, type) else type(first)
