"""What a build can be told."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from builders import BuildSettings
from lmdb_reid.errors import UsageError


def test_the_defaults_are_those_of_the_usual_preparation() -> None:
    assert BuildSettings().as_json() == {
        "size": [256, 128],
        "expand": 1.2,
        "quality": 95,
        "num_bg_per_frame": 1,
        "max_person_share": 0.2,
        "num_partial_per_box": 1,
        "seed": 0,
    }


def test_they_do_not_change_and_print_well() -> None:
    settings = BuildSettings(size=None, seed=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 4  # type: ignore[misc]
    assert "size=None" in repr(settings)
    assert "seed=3" in repr(settings)


@pytest.mark.parametrize(
    "settings",
    [
        BuildSettings(size=None),
        BuildSettings(size=(1, 16_384)),
        BuildSettings(expand=10),
        BuildSettings(quality=1, num_bg_per_frame=0, num_partial_per_box=1000, seed=-5),
    ],
)
def test_json_gives_them_back(settings: BuildSettings) -> None:
    fields = json.loads(json.dumps(settings.as_json()))
    if fields["size"]:
        fields["size"] = tuple(fields["size"])
    assert BuildSettings(**fields) == settings


def test_one_and_one_point_nought_are_the_same() -> None:
    texts = {json.dumps(BuildSettings(expand=ratio).as_json()) for ratio in (1, 1.0)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", (0, 128)),
        ("size", (256, 16_385)),
        ("size", (256,)),
        ("size", (256, 128, 3)),
        ("size", (25.6, 128)),
        ("expand", 0.99),
        ("expand", 10.1),
        ("expand", math.nan),
        ("expand", math.inf),
        ("quality", 0),
        ("quality", 101),
        ("quality", 95.5),
        ("num_bg_per_frame", -1),
        ("max_person_share", -0.1),
        ("max_person_share", 1.5),
        ("max_person_share", float("nan")),
        ("num_bg_per_frame", 1001),
        ("num_bg_per_frame", 1.5),
        ("num_partial_per_box", -1),
        ("num_partial_per_box", 1001),
        ("seed", 1.5),
        ("seed", "0"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name} ") as caught:
        BuildSettings(**{name: value})
    assert str(value) in str(caught.value) or repr(value) in str(caught.value)
    assert " must be " in str(caught.value)
