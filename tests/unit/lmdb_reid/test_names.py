from __future__ import annotations

import inspect
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

import builders
import lmdb_reid
import training
from lmdb_reid._arguments import known_arguments, known_fields
from lmdb_reid._names import Guesses, distance, guessed, nearest
from lmdb_reid.errors import UnknownArgumentError, UnknownNameError


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ("", "", 0),
        ("label", "label", 0),
        ("lable", "label", 1),  # two neighbours exchanged
        ("labels", "label", 1),
        ("abel", "label", 1),
        ("table", "label", 2),
        ("", "abc", 3),
        ("kitten", "sitting", 3),
        ("ca", "abc", 3),
        ("x" * 400 + "#3", "x" * 400 + "#003", 2),
        ("a" * 500, "b" * 500, 500),
    ],
)
def test_the_distance_of_two_names(one: str, other: str, edits: int) -> None:
    assert distance(one, other) == distance(other, one) == edits


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("lable", "label"),
        ("LABEL", "label"),
        ("Kind", "kind"),
        ("identities", "num_identities"),
        ("num_worker", "num_workers"),
        ("zebra", None),
        ("x", None),
    ],
)
def test_the_nearest_name(name: str, near: str | None) -> None:
    names = ["label", "kind", "num_identities", "num_workers", "width"]
    assert nearest(name, names) == near
    assert nearest(name, names, always=True) in names
    assert nearest(name, []) is None


class Thing:
    depth = 3

    def __getattr__(self, name: str) -> Any:
        return guessed(self, name, Guesses({"deep": lambda it: it.depth}, {"far": "Use depth."}))


def test_what_an_attribute_was_meant_to_be() -> None:
    thing = Thing()
    assert thing.deep == 3
    for name, said in [("dpeth", "Did you mean 'depth'?"), ("far", "Use depth."), ("zebra", "")]:
        with pytest.raises(UnknownNameError) as caught:
            getattr(thing, name)
        assert str(caught.value) == f"Thing has no attribute {name!r}. {said}".rstrip()
    assert not hasattr(thing, "zebra")
    assert not hasattr(thing, "__deepcopy__")
    assert isinstance(pickle.loads(pickle.dumps(thing)), Thing)
    assert "deep" not in dir(thing)


@known_arguments(works={"colour": "color"}, answers={"size": "Things have none."})
def paint(thing: str, *, color: str = "red", coats: int = 1) -> str:
    """Paint it."""
    return f"{coats} {color} {thing}"


@known_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class Paint:
    color: str = "red"


def test_arguments_under_other_names() -> None:
    assert paint("door", colour="blue") == paint("door", color="blue") == "1 blue door"
    assert paint.__doc__ == "Paint it."
    assert list(inspect.signature(paint).parameters) == ["thing", "color", "coats"]
    assert pickle.loads(pickle.dumps(paint)) is paint
    assert Paint(color="blue") == pickle.loads(pickle.dumps(Paint(color="blue")))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: paint("door", coat=2), "paint has no argument 'coat'. Did you mean 'coats'?"),  # type: ignore[call-arg]
        (lambda: paint("door", size=2), "paint has no argument 'size'. Things have none."),  # type: ignore[call-arg]
        (lambda: paint("door", zebra=2), "no argument 'zebra'. It takes thing, color, coats."),  # type: ignore[call-arg]
        (lambda: paint("door", color="red", colour="blue"), "no argument 'colour'"),  # type: ignore[call-arg]
        (lambda: Paint(colour="blue"), "Paint has no argument 'colour'. Did you mean 'color'?"),  # type: ignore[call-arg]
    ],
)
def test_arguments_that_do_not_exist(call: Any, said: str) -> None:
    with pytest.raises(UnknownArgumentError) as caught:
        call()
    assert said in str(caught.value)
    with pytest.raises(TypeError):
        call()


CALLABLES = [
    (lmdb_reid, "CroppedBBoxDataset"),
    (lmdb_reid, "DecodedTier"),
    (lmdb_reid, "LRUCache"),
    (lmdb_reid, "PKSampler"),
    (lmdb_reid, "ReIDDataset"),
    (lmdb_reid, "Store"),
    (lmdb_reid, "StoreWriter"),
    (lmdb_reid, "make_loader"),
    (builders, "AtmaCup"),
    (builders, "BuildSettings"),
    (builders, "Coco"),
    (builders, "ColumnRoles"),
    (builders, "Csv"),
    (builders, "Folder"),
    (builders, "MOT"),
    (builders, "MSMT17"),
    (builders, "Market1501"),
    (builders, "SoccerNet"),
    (builders, "TrackFilter"),
    (builders, "build"),
    (builders, "plan"),
    (training, "Loading"),
    (training, "PlayerReIDDataModule"),
    (training, "PlayerReIDDataModuleCV"),
    (training, "PlayerReIDDataset"),
    (training, "StoreData"),
    (training, "build_open_set_splits"),
    (training, "by_group"),
    (training, "by_identity"),
    (training, "given"),
    (training, "load_split"),
    (training, "open_set"),
    (training, "save_split"),
    (training, "stratified"),
]


@pytest.mark.parametrize(
    ("package", "name"),
    CALLABLES,
    ids=[f"{one.__name__}.{name}" for one, name in CALLABLES],
)
def test_every_public_call_names_the_nearest_argument(package: Any, name: str) -> None:
    call = getattr(package, name)
    argument = list(inspect.signature(call).parameters)[-1]
    with pytest.raises(UnknownArgumentError, match=f"Did you mean {argument!r}") as caught:
        call(**{f"{argument}z": 1})
    assert name in str(caught.value)


@pytest.mark.parametrize("package", [builders, training, lmdb_reid])
def test_dir_of_a_package_is_its_list(package: Any) -> None:
    assert set(dir(package)) == set(package.__all__) - {"__version__"}


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("from lmdb_reid import Stroe", "Did you mean 'Store'?"),
        ("from lmdb_reid import Store, open", r"Use Store\(path\)"),
        ("from builders import AtmaCupp", "Did you mean 'AtmaCup'?"),
        ("from training import Splt", "Did you mean 'Split'?"),
    ],
)
def test_a_wrong_import_is_answered_with_the_right_name(line: str, answer: str) -> None:
    with pytest.raises(ImportError, match=answer):
        exec(line, {})


def test_a_package_can_be_asked_for_names_that_it_lacks() -> None:
    assert not hasattr(lmdb_reid, "Stroe")
    assert getattr(lmdb_reid, "Stroe", None) is None
    exec("from lmdb_reid import cli, Store", {})  # a module that nothing has imported yet
