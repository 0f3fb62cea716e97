"""Calls with an argument that no version of the guide's code had."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from lmdb_reid.errors import UnknownArgumentError

_Taken = ParamSpec("_Taken")
_Given = TypeVar("_Given")


def known_arguments(function: Callable[_Taken, _Given]) -> Callable[_Taken, _Given]:
    """The same function; an unknown keyword is an error of ours, with the nearest name there is.

    Raises (when it is called):
        UnknownArgumentError: no argument of that name.
    """
    names = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def called(*args: _Taken.args, **kwargs: _Taken.kwargs) -> _Given:
        for name in kwargs:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1, cutoff=0.0)
                what = function.__qualname__.removesuffix(".__init__")
                raise UnknownArgumentError(
                    f"{what} has no argument {name!r}; the nearest is {near[0]!r}. It takes"
                    f" {', '.join(names)}"
                )
        return function(*args, **kwargs)

    return called
