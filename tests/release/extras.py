"""Installs a wheel with each of its extras into an empty environment, and uses what it brought.

    python tests/release/extras.py dist/lmdb_reid-0.2.0-py3-none-any.whl [EXTRA ...]

An extra passes when pip installs it, every package that it names is imported, the lines of USES
run from another directory, and `lmdb-reid --version` prints the wheel's version. The environments
are removed again. The exit code is 1 if an extra failed; all of them are tried first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Sequence
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
NOTHING = ""  # the wheel without an extra
LEFT_OUT = {"dev"}  # what `make test` installs

BEGIN = """
import numpy as np
from lmdb_reid import Store, StoreWriter, codec
with StoreWriter("s.lmdb") as writer:
    for at in range(8):
        jpeg = codec.encode(np.full((32, 16, 3), 30 * at, np.uint8))
        writer.put(f"{at:02d}", jpeg, {"label": at // 4})
store = Store("s.lmdb")
assert store.verify(deep=True).ok and len(store) == 8
"""
LOADER = """
from lmdb_reid import PKSampler, ReIDDataset, make_loader
with make_loader(ReIDDataset(store), sampler=PKSampler(store.labels, p=2, k=2)) as loader:
    assert next(iter(loader)).images.shape == (4, 3, 32, 16)
"""
BUILD = """
from builders import AtmaCup, BuildSettings, build
from builders.game import draw_game
from pathlib import Path
game = draw_game(Path("game"), quarters=1, frames=1, size=(180, 320))
build(AtmaCup(game.train_meta, game.img_root), "built.lmdb", BuildSettings(size=(32, 16)))
"""
SHEET = "assert len(store[store.query('label == 1')]) == 4; store.sheet().save('sheet.jpg')\n"
CHART = "store.plot.identities().figure.savefig('chart.png')\n"
TRAIN = "import training.runs; from training import PlayerReIDDataModule, StoreData\n"
VIDEO = "import av; from builders.media import Videos; av.open\n"
USES = {
    NOTHING: "import builders, training\n",
    "resize": "assert codec.resize(store[0].image, (16, 8)).shape == (16, 8, 3)\n",
    "build": BUILD,
    "video": BUILD + VIDEO,
    "notebook": SHEET,
    "plot": CHART,
    "torch": LOADER,
    "train": LOADER + TRAIN,
    "completion": "import shtab; from lmdb_reid.cli import completion\n",
    "turbojpeg": "from turbojpeg import TurboJPEG\n",
    "all": BUILD + VIDEO + SHEET + CHART + LOADER + TRAIN + "import shtab\n",
}
"""For each extra, what it is installed for; BEGIN runs before it."""

IMPORTS = """
import importlib, importlib.metadata as metadata, sys
owners = metadata.packages_distributions()
for package in sys.argv[1:]:
    tops = [top for top, names in owners.items() if top[0] != "_" and package in
            [name.lower().replace("_", "-") for name in names]]
    assert tops, f"{package} brought nothing to import"
    importlib.import_module(min(tops, key=len))
    print(package, metadata.version(package), end="; ")
"""
"""Imports packages in the environment that it runs in, and prints their versions."""


def metadata_of(wheel: Path) -> Message:
    """The METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def packages_of(needs: Sequence[str], extra: str) -> set[str]:
    """The packages that lines of Requires-Dist name for an extra, its own extras followed."""
    found: set[str] = set()
    for need in map(Requirement, needs):
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            name = need.name.lower().replace("_", "-")
            found.add(name)
            if name == "lmdb-reid":
                found.update(*(packages_of(needs, inner) for inner in need.extras))
    return found - {"lmdb-reid"}


def call(words: Sequence[str | Path], folder: Path) -> str:
    """What a program printed, of an environment that sees nothing of this one.

    Raises:
        RuntimeError: it ended with another code than 0; says the end of what it printed.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shown = " ".join(map(str, words))
        raise RuntimeError(f"{shown:.200} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout.strip()


def check(wheel: Path, extra: str, folder: Path) -> str:
    """Install one extra into a new environment below `folder` and use it; what came with it."""
    about, home = metadata_of(wheel), folder / "env"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    wanted = f"{wheel.resolve()}[{extra}]" if extra else str(wheel.resolve())
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    options = ["--quiet", "--disable-pip-version-check", "--no-compile"]
    call([*pip, *options, "-c", ROOT / "constraints.txt", wanted], folder)
    needs = packages_of(about.get_all("Requires-Dist") or [], extra)
    brought = call([python, "-c", IMPORTS, *sorted(needs)], folder)
    call([python, "-c", BEGIN + USES[extra]], folder)
    printed = call([home / "bin" / "lmdb-reid", "--version"], folder)
    if printed != f"lmdb-reid {about['Version']}":
        raise RuntimeError(f"lmdb-reid --version must print {about['Version']}, got {printed!r}")
    return brought.rstrip("; ")


def main(words: Sequence[str]) -> int:
    """Check a wheel's extras, all unless some are named; 1 if any failed."""
    wheel, *chosen = words
    about = metadata_of(Path(wheel))
    extras = about.get_all("Provides-Extra") or []
    failed = 0
    for extra in chosen or [NOTHING, *(each for each in extras if each not in LEFT_OUT)]:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="lmdb_reid-extra-") as folder:
            try:
                said = check(Path(wheel), extra, Path(folder))
            except RuntimeError as error:
                failed += 1
                said = f"FAILED: {error}"
        print(f"[{extra or 'no extra'}] {time.monotonic() - began:.0f} s: {said}", flush=True)
    print(f"{failed} extras failed" if failed else "every extra works")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
