from __future__ import annotations

from collections.abc import Callable

import pytest

from lmdb_reid import augment


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    assert len(set(augment.__all__)) == len(augment.__all__)
    for name in augment.__all__:
        thing = getattr(augment, name)
        assert not callable(thing) or thing.__doc__


def test_no_other_name_is_made_up() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Compose'"):
        augment.Compose  # noqa: B018  # asking for it is the test


def test_describing_drawing_and_placing_load_no_torch(run_python: Callable[..., str]) -> None:
    loaded = run_python(
        "import sys; import numpy as np\n"
        "from lmdb_reid.augment import ReIDAugment, draw, place\n"
        "draws = draw(ReIDAugment(pad=2), (8, 4), 0, 0, np.arange(3, dtype=np.int64))\n"
        "place(np.zeros((3, 8, 4, 3), np.uint8), draws)\n"
        "print('torch' in sys.modules)"
    )
    assert loaded.strip() == "False"
