from __future__ import annotations

import builtins
import inspect
import pickle
import re
from pathlib import Path

import pytest

from lmdb_reid import errors

CLASSES = sorted(
    (
        thing
        for thing in vars(errors).values()
        if inspect.isclass(thing) and thing.__module__ == errors.__name__
    ),
    key=lambda cls: cls.__name__,
)
LINE = re.compile(r"^([ │]*)[├└]── (\w+)(?: \((\w+)\))?(?: |$)")


def drawn() -> dict[str, tuple[str, ...]]:
    """{class: (parent, builtin)} as the tree in the module's docstring draws it."""
    assert errors.__doc__
    tree: dict[str, tuple[str, ...]] = {}
    path: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        if line.strip() == "LmdbReidError":
            path = [(line.index("L"), "LmdbReidError")]
        elif match := LINE.match(line):
            indent, name, builtin = match.groups()
            while path[-1][0] >= len(indent) + 1:
                path.pop()
            assert name not in tree, f"{name} is drawn twice"
            tree[name] = (path[-1][1], builtin) if builtin else (path[-1][1],)
            path.append((len(indent) + 1, name))
        else:
            assert not set(line) & set("├└│"), f"two branches of the tree on one line: {line!r}"
    return tree


def test_the_drawn_tree_is_the_tree_of_classes() -> None:
    found = {cls.__name__: tuple(base.__name__ for base in cls.__bases__) for cls in CLASSES}
    assert found.pop("LmdbReidError") == ("Exception",)
    assert drawn() == found


@pytest.mark.parametrize("cls", CLASSES)
def test_made_from_its_message_alone(cls: type[errors.LmdbReidError]) -> None:
    error = cls("no frame a/b.jpg: give --img-root")
    assert str(error) == "no frame a/b.jpg: give --img-root"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert again.args == error.args
    assert str(again) == str(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_what_an_error_is_about_survives_pickling(cls: type[errors.LmdbReidError]) -> None:
    error = cls("two are damaged", ids=["a", "b"], rows=[3, 5], path=Path("x/games.lmdb"))
    error.add_note("in worker 3")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "two are damaged"
    assert (again.ids, again.rows, again.path) == (("a", "b"), (3, 5), "x/games.lmdb")
    assert again.__notes__ == ["in worker 3"]


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_that_is_about_nothing_in_particular_says_so(
    cls: type[errors.LmdbReidError],
) -> None:
    for error in (cls("it failed"), pickle.loads(pickle.dumps(cls("it failed")))):
        assert (error.ids, error.rows, error.path) == ((), (), None)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_message_of_none(cls: type[errors.LmdbReidError]) -> None:
    assert str(cls()) == ""


@pytest.mark.parametrize(
    ("ours", "guessed"),
    [
        (errors.UsageError, ValueError),
        (errors.MissingExtraError, ImportError),
        (errors.StoreNotFoundError, FileNotFoundError),
        (errors.StoreExistsError, FileExistsError),
        (errors.StoreWriteError, OSError),
        (errors.StoreWriteError, errors.StoreError),
        (errors.WriteError, OSError),
        (errors.ResourceError, OSError),
        (errors.LoaderClosedError, RuntimeError),
        (errors.DivergedError, RuntimeError),
        (errors.StoreChangedError, RuntimeError),
        (errors.UnknownSampleError, KeyError),
        (errors.CorruptSampleError, ValueError),
        (errors.ImageTooLargeError, ValueError),
        (errors.SourceNotFoundError, FileNotFoundError),
    ],
)
def test_caught_as_the_builtin_one_would_guess(
    ours: type[errors.LmdbReidError], guessed: type[Exception]
) -> None:
    with pytest.raises(guessed, match="what it is"):
        raise ours("what it is")


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_says_when_it_is_raised(cls: type[errors.LmdbReidError]) -> None:
    assert cls.__doc__
    assert not hasattr(builtins, cls.__name__)


def test_a_missing_extra_names_its_pip_line() -> None:
    error = errors.MissingExtraError.of("pandas", "build", "reading a csv")
    told = 'reading a csv needs pandas, which is not installed: pip install "lmdb_reid[build]"'
    assert str(error) == told
