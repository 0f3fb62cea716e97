"""Sources that are found by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.game import draw_game
from builders.registry import recognised, source_class, source_names
from lmdb_reid import codec
from lmdb_reid.cli.main import main
from lmdb_reid.errors import UsageError
from lmdb_reid.store import Store

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: Any) -> Any:
    """Installs a package that brings sources: `install("package", name="module:Class")`."""
    monkeypatch.syspath_prepend(Path(__file__).parent)

    def add(package: str, **sources: str) -> None:
        info = tmp_path / "site" / f"{package}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        lines = [f"{name} = {value}" for name, value in sources.items()]
        (info / "entry_points.txt").write_text("\n".join(["[lmdb_reid.sources]", *lines]))
        monkeypatch.syspath_prepend(tmp_path / "site")

    yield add
    sys.modules.pop("by_folder", None)


def folders(root: Path) -> Path:
    for at, name in enumerate(("ann/a1", "ann/a2", "bea/b1")):
        path = root / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(codec.encode(np.full((64, 32, 3), 60 * at, np.uint8)))
    return root


def test_a_source_of_forty_lines_is_offered_and_built(
    install: Install, tmp_path: Path, capsys: Any
) -> None:
    install("folders", by_folder="by_folder:ByFolder")
    assert main(["build", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "read this layout: atmacup, by_folder, coco, csv, folder, market1501, mot" in told
    assert main(["build", "--format", "by_folder", "--help"]) == 0
    told = capsys.readouterr().out
    assert "--root DIR" in told
    assert "--train-meta CSV" not in told.partition("example:")[0]
    words = ["build", "--format=by_folder", "--out", str(tmp_path / "o.lmdb"), "--size", "native"]
    assert main([*words, "--root", str(folders(tmp_path / "people"))]) == 0
    with Store(tmp_path / "o.lmdb") as store:
        assert {name: store[name].label for name in store} == {"a1": 0, "a2": 0, "b1": 1}
        assert store["b1"].record["person"] == "bea"
        assert store["a2"].jpeg == (tmp_path / "people/ann/a2.jpg").read_bytes()
    capsys.readouterr()
    assert main([*words[:2], "--out", "o"]) == 2
    assert "needs --root DIR" in capsys.readouterr().err


def test_the_formats_options_may_stand_before_it(tmp_path: Path, capsys: Any) -> None:
    assert main(["build", "--img-root", str(tmp_path), "--format", "atmacup", "--out", "o"]) == 2
    assert "needs --train-meta CSV and --img-root DIR" in capsys.readouterr().err


def test_two_sources_of_one_name_are_named_and_others_work(install: Install, capsys: Any) -> None:
    install("one", twice="by_folder:ByFolder")
    install("two", twice="by_folder:Other", good="by_folder:ByFolder")
    assert {"atmacup", "good", "twice"} <= {*source_names()}
    assert source_names() == sorted(source_names())
    with pytest.raises(UsageError) as caught:
        source_class("twice")
    for told in ("by_folder:ByFolder of one", "by_folder:Other of two", "uninstall one"):
        assert told in str(caught.value)
    assert source_class("good").name == "by_folder"
    assert main(["build", "--format", "twice", "--out", "o"]) == 2
    assert "must be one source" in capsys.readouterr().err


def test_a_source_that_is_found_by_two_roads_is_one(install: Install, tmp_path: Path) -> None:
    install("one", by_folder="by_folder:ByFolder")
    (tmp_path / "site2").mkdir()
    sys.path.insert(0, str(tmp_path / "site2"))
    try:
        (tmp_path / "site" / "one-1.dist-info").rename(tmp_path / "site2" / "one-1.dist-info")
        install("one", by_folder="by_folder:ByFolder")
        assert source_class("by_folder").name == "by_folder"
    finally:
        sys.path.remove(str(tmp_path / "site2"))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no_such_module:Source", "does not import (ModuleNotFoundError: No module named"),
        ("by_folder:NoSuchClass", "does not import (AttributeError"),
        ("json:JSONDecoder", "lacks name, roles, configure, from_args, recognises, read"),
    ],
)
def test_an_entry_point_that_is_no_source_is_named_and_others_work(
    install: Install, capsys: Any, value: str, told: str
) -> None:
    install("broken", bad=value, good="by_folder:ByFolder")
    with pytest.raises(UsageError, match="the format 'bad' cannot be used") as caught:
        source_class("bad")
    assert told in str(caught.value)
    assert f"{value} of broken" in str(caught.value)
    assert source_class("good").name == "by_folder"
    assert main(["build", "--help"]) == 0
    assert "bad" in capsys.readouterr().out
    assert main(["build", "--format", "bad", "--out", "o"]) == 2


def test_options_that_the_command_has_are_refused(
    install: Install, tmp_path: Path, monkeypatch: Any
) -> None:
    install("greedy", greedy="by_folder:ByFolder")
    source: Any = source_class("greedy")
    monkeypatch.setattr(source, "configure", lambda options: options.add_argument("--seed"))
    assert main(["build", "--format", "greedy", "--out", str(tmp_path / "o")]) == 2


def test_an_unknown_format(capsys: Any) -> None:
    assert main(["build", "--format", "atmacap", "--out", "o"]) == 2
    told = capsys.readouterr().err
    assert "must be one of atmacup, coco, csv, " in told
    assert "got 'atmacap'. Did you mean 'atmacup'?" in told
    assert main(["build", "--out", "o"]) == 2
    assert "--format FORMAT is required" in capsys.readouterr().err


def test_auto_takes_the_format_that_fits_and_says_why(tmp_path: Path, capsys: Any) -> None:
    root = folders(tmp_path / "people")
    words = ["build", "--format", "auto", "--root", str(root), "--out", str(tmp_path / "o.lmdb")]
    assert main([*words, "--names", r"(?P<camera>\w)\d"]) == 0
    told = capsys.readouterr().err
    assert "format folder: " in told
    assert "would be one identity's folder" in told
    with Store(tmp_path / "o.lmdb") as store:
        assert store.manifest.source["format"] == "folder"
        assert store["ann/a1"].record["camera"] == "a"


def test_auto_names_both_formats_that_fit(tmp_path: Path, capsys: Any) -> None:
    root = folders(tmp_path / "people")
    (root / "list_train.txt").write_text("ann/a1.jpg 0")
    words = ["build", "--format", "auto", "--root", str(root), "--out", str(tmp_path / "o.lmdb")]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "2 formats fit" in told
    assert "folder, for " in told
    assert "msmt17, for there is list_train.txt" in told


def test_auto_needs_a_folder_that_some_format_fits(tmp_path: Path, capsys: Any) -> None:
    words = ["build", "--format", "auto", "--out", str(tmp_path / "o.lmdb")]
    for more, told in (
        ([], "--format auto needs --root DIR"),
        (["--root", str(tmp_path)], "no format fits"),
        (["--root", str(tmp_path / "nowhere")], "--root must be a folder"),
    ):
        assert main([*words, *more]) == 2
        assert told in capsys.readouterr().err


def test_auto_passes_over_a_source_that_cannot_be_used(install: Install, tmp_path: Path) -> None:
    install("broken", bad="no_such_module:Source")
    assert recognised(folders(tmp_path / "people"))[0] == "folder"


def test_auto_says_which_folder_nearby_may_be_meant(tmp_path: Path) -> None:
    people = folders(tmp_path / "data" / "deep" / "er" / "people")
    with pytest.raises(UsageError, match=rf"{people.parent.parent}.* may be meant.*Use --root"):
        recognised(tmp_path / "data")
    with pytest.raises(UsageError, match=rf"Use --root {people}\."):
        recognised(people / "ann")
    (tmp_path / "other" / "empty").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"soccernet\. Use --format, and"):
        recognised(tmp_path / "other" / "empty")


def test_auto_reads_the_atmacup_layout_from_its_folder(tmp_path: Path) -> None:
    game = draw_game(tmp_path / "game", quarters=1, frames=2, size=(180, 320))
    assert recognised(game.train_meta.parent)[0] == "atmacup"
    words = ["build", "--format", "auto", "--root", str(game.train_meta.parent)]
    assert main([*words, "--out", str(tmp_path / "o.lmdb")]) == 0
