"""What `make release` and `make test-pythons` say, without the network."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmdb_reid._version import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


@pytest.fixture(scope="module")
def extras() -> ModuleType:
    spec = importlib.util.spec_from_file_location("extras", Path(__file__).with_name("extras.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(*words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    call = ["make", "--no-print-directory", *words]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_extra_but_the_gates_is_used(extras: ModuleType) -> None:
    assert extras.USES.keys() - {extras.NOTHING} == EXTRAS.keys() - extras.LEFT_OUT


def test_the_uses_are_python(extras: ModuleType) -> None:
    for extra, lines in extras.USES.items():
        compile(extras.BEGIN + lines, extra, "exec")


def test_the_extras_of_an_extra_are_followed(extras: ModuleType) -> None:
    needs = [
        "numpy>=1.26",
        "opencv>=4; extra == 'resize'",
        "lmdb_reid[resize]; extra == 'build'",
        "Pillow_X; extra == 'build'",
        "lmdb_reid[build]; extra == 'all'",
    ]
    assert extras.packages_of(needs, "") == {"numpy"}
    assert extras.packages_of(needs, "all") == {"numpy", "opencv", "pillow-x"}


def test_an_extra_that_fails_is_named_and_the_others_are_tried(
    extras: ModuleType, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    def check(_: Path, extra: str, folder: Path) -> str:
        if extra == "plot":
            raise RuntimeError(extras.call(["sh", "-c", "echo broken; exit 3"], folder))
        return "fine"

    monkeypatch.setattr(extras, "check", check)
    wheel = tmp_path / "x.whl"
    about = "\n".join(["Version: 9", *(f"Provides-Extra: {name}" for name in EXTRAS)])
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x.dist-info/METADATA", about + "\n\n")
    assert extras.main([str(wheel)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "1 extras failed" in lines[-1]
    assert any(line.startswith("[plot]") and "ended with 3" in line for line in lines)
    assert "broken" in lines
    assert sum(line.endswith(": fine") for line in lines) == len(EXTRAS) - 1  # dev out, none in
    assert extras.main([str(wheel), "torch"]) == 0


def test_pythons_that_are_not_there_are_named() -> None:
    done = make("test-pythons", "PYTHONS=3.98 3.99")
    assert done.returncode != 0
    assert "passed: none; failed: none; not on this machine: 3.98 3.99" in done.stdout


def test_the_version_is_the_newest_of_the_changelog() -> None:
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = [line for line in log.splitlines() if line.startswith("## [")]
    released = [line for line in headings if "Unreleased" not in line]
    assert released[0].startswith(f"## [{__version__}] - 20")
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()


def test_classifiers_are_the_versions_that_are_tested() -> None:
    prefix = "Programming Language :: Python :: 3."
    named = [line[len(prefix) - 2 :] for line in PROJECT["classifiers"] if line.startswith(prefix)]
    makefile = (ROOT / "Makefile").read_text()
    assert f"PYTHONS ?= {' '.join(named)}\n" in makefile
