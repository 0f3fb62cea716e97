"""The nearest right name for a wrong one, and what first guesses mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lmdb_reid.errors import UnknownNameError

_PART = 1.5  # the distance of a name to one that it is a part of
_LONG = 64  # characters that differ, beyond which two names are not alike in any case


class Guesses:
    """What those who come from other libraries type first, and what it means here.

    None of these names is in `dir()` or seen by type checkers. Those that work are in docs/faq.md.

    Args:
        works: what an attribute is, made from the object that was asked for it.
        answers: what to write instead of an attribute: a full sentence.
    """

    # A plain class, which is cheaper to make than a named tuple: `import lmdb_reid` loads it.
    def __init__(
        self, works: Mapping[str, Callable[[Any], Any]], answers: Mapping[str, str]
    ) -> None:
        self.works = works
        self.answers = answers


def distance(one: str, other: str) -> int:
    """Characters to insert, remove, exchange or swap with their neighbour, to get from one name to
    the other (Damerau and Levenshtein, optimal string alignment). Case counts.
    """
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    if min(len(one), len(other)) == 0 or max(len(one), len(other)) > _LONG:
        return max(len(one), len(other))
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, left in enumerate(one, 1):
        line = [row]
        for column, right in enumerate(other, 1):
            cost = min(last[column] + 1, line[-1] + 1, last[column - 1] + (left != right))
            swapped = row > 1 and column > 1 and (left, one[row - 2]) == (other[column - 2], right)
            if swapped:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        before, last = last, line
    return last[-1]


def nearest(name: str, names: Iterable[str], *, always: bool = False) -> str | None:
    """The name that somebody meant who wrote `name`: the one with the smallest edit distance.

    Args:
        name: the wrong one.
        names: all right ones; the first of several that are equally near is taken.
        always: also where it has little in common; else None is returned then.
    """
    lower = name.lower()
    best, least = None, float("inf")
    for right in names:
        cost = distance(lower, right.lower()) + 0.5 * (name != right and lower == right.lower())
        if len(lower) > 2 and (lower in right.lower() or right.lower() in lower):
            cost = min(cost, _PART)  # "identities" is in "num_identities"
        if cost < least:
            best, least = right, cost
    if best is None or always:
        return best
    return best if least <= max(_PART, max(len(name), len(best)) // 3) else None


def did_you_mean(name: str, names: Iterable[str], *, otherwise: str = "") -> str:
    """A sentence to append, such as "Did you mean 'label'?"; `otherwise` if no name is near."""
    near = nearest(name, names)
    return otherwise if near is None else f" Did you mean {near!r}?"


def guessed(thing: object, name: str, guesses: Guesses) -> Any:
    """What an attribute that does not exist was meant to be; for `__getattr__`.

    Raises:
        UnknownNameError: nothing known; says what to write instead, or the nearest name.
    """
    works = guesses.works.get(name)
    if works is not None:
        return works(thing)
    kind = thing if isinstance(thing, type) else type(thing)
    # A protocol that somebody looks for, such as pickle: dir() is one of them.
    names = [] if name.startswith("_") else dir(thing)
    raise unknown_name(kind.__name__, name, names, guesses.answers)


def unknown_name(
    what: str, name: str, names: Iterable[str], answers: Mapping[str, str]
) -> UnknownNameError:
    """The error for an attribute that `what` lacks."""
    answer = answers.get(name)
    if answer is None:
        answer = did_you_mean(name, (one for one in names if not one.startswith("_"))).strip()
    return UnknownNameError(f"{what} has no attribute {name!r}. {answer}".rstrip())
