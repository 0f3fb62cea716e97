"""The built wheel, in an environment that holds nothing but it and the four base packages."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import numpy as np
import pytest

from lmdb_reid._version import __version__
from lmdb_reid.codec import encode
from lmdb_reid.store import StoreWriter

ROOT = Path(__file__).resolve().parents[2]
BASE = ("numpy", "lmdb", "msgpack", "simplejpeg")
PACKAGES = ("lmdb_reid", "builders", "training")


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program that sees no package but its own environment's."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    done = call(*build, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bin_dir(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, by pip, and the base packages, linked."""
    home = tmp_path_factory.mktemp("env") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    programs = home / "bin"
    (site,) = home.glob("lib/python*/site-packages")
    for name in BASE:  # linked, not installed, so that no network is needed
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            (site / top).symlink_to(Path(str(distribution.locate_file(top))).resolve())
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install"]
    # With --no-index pip also proves that the base packages are all that the wheel asks for.
    done = call(*pip, "--no-index", "--no-cache-dir", wheel, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    return programs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A store of two samples, and their pictures by id."""
    path = tmp_path_factory.mktemp("stores") / "tiny.lmdb"
    pictures = {
        sample_id: encode(np.full((64, 32, 3), grey, dtype=np.uint8))
        for sample_id, grey in (("a#000", 40), ("a#001", 200))
    }
    with StoreWriter(path) as writer:
        for label, (sample_id, jpeg) in enumerate(pictures.items()):
            writer.put(sample_id, jpeg, {"label": label})
        writer.seal()
    return path, pictures


def test_the_wheel_holds_the_packages_typed_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    dist_info = f"lmdb_reid-{__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {*PACKAGES, dist_info}
    for package in PACKAGES:
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
    assert f"{dist_info}/licenses/LICENSE" in names
    in_tree = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert in_tree <= set(names)


def test_the_wheel_asks_for_the_base_packages_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    needs = [line for line in metadata.get_all("Requires-Dist") or () if "extra ==" not in line]
    assert sorted(line.partition(">")[0] for line in needs) == sorted(BASE)
    assert metadata["Requires-Python"] == ">=3.11"


def test_what_runs_is_the_wheel(bin_dir: Path, tmp_path: Path) -> None:
    code = "import builders, lmdb_reid, training; print(builders, lmdb_reid, training)"
    done = call(bin_dir / "python", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(bin_dir.parent)) == len(PACKAGES)
    for missing in ("torch", "pandas", "cv2"):
        assert call(bin_dir / "python", "-c", f"import {missing}", cwd=tmp_path).returncode == 1


def test_help(bin_dir: Path, tmp_path: Path) -> None:
    done = call(bin_dir / "lmdb-reid", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "  doctor  " in done.stdout


def test_doctor_finds_no_shadow_and_no_extra(bin_dir: Path, tmp_path: Path) -> None:
    done = call(bin_dir / "lmdb-reid", "doctor", "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr  # 1 where this machine's limits are low
    report = json.loads(done.stdout)
    assert report["versions"]["lmdb_reid"] == __version__
    assert report["versions"]["torch"] is None
    assert report["shadowed"] == {}
    assert 'pip install "lmdb_reid[train]"' in [f["change"] for f in report["findings"]]


def test_info(bin_dir: Path, tmp_path: Path, store: tuple[Path, dict[str, bytes]]) -> None:
    done = call(bin_dir / "lmdb-reid", "info", store[0], "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"] == len(store[1])


def test_get(bin_dir: Path, tmp_path: Path, store: tuple[Path, dict[str, bytes]]) -> None:
    for sample_id, jpeg in store[1].items():
        done = call(bin_dir / "lmdb-reid", "get", store[0], sample_id, "-o", "x.jpg", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "x.jpg").read_bytes() == jpeg


def test_a_command_without_its_extra_says_which(bin_dir: Path, tmp_path: Path) -> None:
    done = call(bin_dir / "lmdb-reid", "demo", "--out", "demo", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert 'pip install "lmdb_reid[' in done.stderr
