"""Every name that is called answers a misspelt argument with the right one."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lmdb_reid
import training
from lmdb_reid.errors import UnknownArgumentError
from training import OpenSet, PlayerReIDDataModuleCV, PlayerReIDModule, Split
from training import guide as guide_package

CALLED: dict[str, Any] = {
    **{f"training.{name}": getattr(training, name) for name in training.__all__},
    "lmdb_reid.CroppedBBoxDataset": lmdb_reid.CroppedBBoxDataset,
}
ARGUMENTS = [
    (name, argument)
    for name, called in CALLED.items()
    for argument in inspect.signature(called).parameters
]


def misspelt(argument: str, taken: set[str]) -> str:
    """The same with its last letters exchanged; where that is a right one, or none, one more."""
    head, last = argument[:-2], argument[-2:]
    swapped = f"{head}{last[::-1]}"
    return f"{argument}_" if not head or swapped in {argument, *taken} else swapped


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_a_misspelt_argument_is_answered_with_the_right_one(name: str, argument: str) -> None:
    wrong = misspelt(argument, {*inspect.signature(CALLED[name]).parameters})
    own = CALLED[name].__name__
    message = f"{own} has no argument {wrong!r}. Did you mean {argument!r}? It takes "
    with pytest.raises(UnknownArgumentError, match=f"^{re.escape(message)}"):
        CALLED[name](**{wrong: 0})


def test_all_names_of_the_guide_are_among_them() -> None:
    assert {*guide_package.__all__} <= {*training.__all__}
    assert len(ARGUMENTS) > 150


@pytest.mark.parametrize("name", CALLED)
def test_it_is_what_python_would_raise_too(name: str) -> None:
    with pytest.raises(TypeError, match="has no argument 'no_such_thing'"):
        CALLED[name](no_such_thing=1)


@pytest.mark.parametrize("name", CALLED)
def test_signatures_show_the_arguments(name: str) -> None:
    arguments = inspect.signature(CALLED[name]).parameters
    assert arguments
    assert not {"args", "kwargs", "self", "_cls"} & {*arguments}
    assert CALLED[name].__doc__


def test_a_subclass_answers_for_what_it_hands_on() -> None:
    class Own(PlayerReIDDataModuleCV):
        def __init__(self, **settings: Any) -> None:
            super().__init__(store="s.lmdb", **settings)

    assert Own(batch_size=7).batch_size == 7
    with pytest.raises(UnknownArgumentError, match=r"^Own has no argument 'batchsize'\. Did you"):
        Own(batchsize=7)


def test_other_mistakes_stay_pythons_own() -> None:
    load: Callable[..., Any] = training.load_split
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        load("a.csv")
    with pytest.raises(TypeError, match=r"positional arguments? but"):
        load(1, 2, 3, 4)


def test_records_are_made_compared_and_pickled_as_before() -> None:
    found = OpenSet([1], unknown=[], known_labels=[3], unknown_labels=[4])
    assert found == ([1], [], [3], [4])
    assert pickle.loads(pickle.dumps(found)) == found._replace(known=[1])
    split = Split(parts={"train": np.arange(2)}, labels=[1, 0])
    assert split.labels == [0, 1]


class WithHead(PlayerReIDModule):
    """As a user extends the module: a further argument, and no word of hyperparameters."""

    def __init__(self, depth: int = 1, **settings: Any) -> None:
        super().__init__(**settings)
        self.depth = depth


def test_a_module_keeps_its_hyperparameters() -> None:
    module = PlayerReIDModule([3, 5], lr=0.5)
    own = {"classes": [3, 5], "embedding": 128, "width": 32, "scale": 16.0, "margin": 0.3}
    assert {**module.hparams} == own | {"lr": 0.5, "weight_decay": 0.05}
    further = WithHead(depth=4, classes=[3, 5], lr=0.25)
    assert {**further.hparams} == {**module.hparams} | {"lr": 0.25, "depth": 4}


def test_a_module_made_inside_another_class_keeps_its_own_alone() -> None:
    class Run:
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.depth, self.module = depth, PlayerReIDModule([3, 5])

    assert "depth" not in Run(4).module.hparams


def test_a_checkpoint_of_a_subclass_has_its_arguments(tmp_path: Path) -> None:
    from lightning.pytorch import Trainer

    module = WithHead(depth=4, classes=[3, 5], width=8, embedding=16)
    trainer = Trainer(
        max_epochs=0, logger=False, accelerator="cpu", barebones=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, enable_checkpointing=False,
    )  # fmt: skip
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = WithHead.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert (loaded.depth, loaded.hparams["width"]) == (4, 8)
    assert torch.equal(loaded.classes, torch.tensor([3, 5]))
