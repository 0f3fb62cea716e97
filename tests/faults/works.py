"""What is disturbed: a build, one over an older store, a merge, the filling of a decoded tier.

Each `Work` runs in a folder of its own. `judge` says what lies there after a fault, as the digest's
name or "none", and raises Wrong for what must never lie there; `finish` takes it up again.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from builders import AtmaCup, BuildSettings, build
from builders.game import draw_game
from lmdb_reid import codec
from lmdb_reid.cache import DecodedTier, _tier_files
from lmdb_reid.crops import Cached, StoreCrops
from lmdb_reid.errors import LmdbReidError, StoreExistsError
from lmdb_reid.store import Store, StoreWriter, merge

from .child import Wrong, in_child, value_of

SIZE = (64, 32)
OUT = "out.lmdb"
_TWIN = 40  # samples


class Lab:
    """A drawn game, and the stores that undisturbed work makes of it.

    Args:
        folder: an empty one, for all of it.
        bug: what the disturbed children, and they alone, have seeded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bug: Callable[[], None] | None = None
        self.game = draw_game(folder / "game", quarters=2, frames=3, size=(180, 320))
        self.stores = {name: folder / f"{name}.lmdb" for name in ("new", "old", "merged")}
        for name, quality in (("new", 95), ("old", 80)):
            self.build(self.stores[name], quality=quality)
        merge([self.stores["new"], self.stores["old"]], self.stores["merged"])
        self.stores["large"] = self.twins(folder)[0]
        self.names = {}
        for name, path in self.stores.items():
            with Store(path) as store:
                self.names[store.digest] = name
        self.pixels = {name: _pixels(self.stores[name]) for name in ("new", "large")}

    def build(
        self, out: Path, *, quality: int = 95, resume: bool = False, overwrite: bool = False
    ) -> None:
        source = AtmaCup(self.game.train_meta, self.game.img_root)
        settings = BuildSettings(size=SIZE, quality=quality)
        build(
            source, out, settings, num_workers=1, max_skipped=0.5,
            resume=resume, overwrite=overwrite,
        )  # fmt: skip

    def twins(self, folder: Path) -> list[Path]:
        """Two stores alike but for their pixels, whose values take pages of their own."""
        made = [folder / "one.lmdb", folder / "two.lmdb"]
        for out in made:
            self.twin(out, seed=made.index(out))
        return made

    def twin(self, out: Path, *, seed: int, overwrite: bool = False) -> None:
        draw = np.random.default_rng(0)
        with StoreWriter(out, overwrite=overwrite) as writer:
            for row in range(_TWIN):
                jpeg = bytearray(codec.encode(draw.integers(0, 256, (128, 64, 3), np.uint8)))
                jpeg[len(jpeg) // 2] ^= seed
                writer.put(f"{row:03d}", bytes(jpeg), {"label": row})

    def empty(self, name: str) -> Path:
        """A new empty folder beside the stores; one of that name is removed."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def name_of(self, out: Path) -> str:
        """Which whole store lies at `out`; "none" where nothing does."""
        if not out.exists() and not out.with_name(f"{out.name}.replaced").exists():
            return "none"
        with Store(out) as store:
            found = store.verify(deep=True)
            name = self.names.get(store.digest)
            if not found.ok or name is None:
                raise Wrong(f"{out.name} is {name or 'another store'}: {found.problems[:2]}")
        return name


def _pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Store(path) as store:
        crops = StoreCrops(store)
        pixels = np.empty((len(store), *crops.size, 3), np.uint8)
        crops.read(np.arange(len(store)), pixels)
    return pixels


class Fresh:
    name = "build"
    before, after = "none", "new"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def lay(self, folder: Path) -> None:
        """What has to lie in `folder` before."""

    def run(self, folder: Path) -> None:
        self.lab.build(folder / OUT)

    def judge(self, folder: Path) -> str:
        name = self.lab.name_of(folder / OUT)
        if name not in (self.before, self.after):
            raise Wrong(f"{name!r} has the name, not {self.before!r} or {self.after!r}")
        return name

    def finish(self, folder: Path) -> None:
        self.lab.build(folder / OUT, resume=True)

    def discard(self, folder: Path) -> None:
        """The way out where `finish` is refused."""
        self.lab.build(folder / OUT, overwrite=True)


class Over(Fresh):
    name = "build --overwrite"
    before = "old"

    def lay(self, folder: Path) -> None:
        shutil.copytree(self.lab.stores["old"], folder / OUT)

    def run(self, folder: Path) -> None:
        self.lab.build(folder / OUT, overwrite=True)

    def finish(self, folder: Path) -> None:
        if self.judge(folder) == self.after:
            # The old one is beside it, which the next build removes.
            if any((folder / f"{OUT}{name}").exists() for name in (".partial", ".replaced")):
                self.run(folder)
            return
        try:
            self.lab.build(folder / OUT, resume=True)
        except StoreExistsError:  # nothing of the new build was on the disk yet
            self.run(folder)
        except LmdbReidError:  # it compares the old store with the settings: another quality
            if (folder / f"{OUT}.partial").exists():
                raise
            self.run(folder)


class Merge(Fresh):
    name = "merge"
    after = "merged"

    def run(self, folder: Path) -> None:
        merge([self.lab.stores["new"], self.lab.stores["old"]], folder / OUT)

    def finish(self, folder: Path) -> None:
        self.discard(folder)

    def discard(self, folder: Path) -> None:
        stores = [self.lab.stores["new"], self.lab.stores["old"]]
        merge(stores, folder / OUT, overwrite=True)


class Warm(Fresh):
    name = "warm --decoded"

    def run(self, folder: Path) -> None:
        self.read(folder, fill=True)

    def read(self, folder: Path, *, fill: bool) -> int:
        """How many of the pixels were in the tier; all of them are compared."""
        truth = self.lab.pixels["large"]
        with Store(self.lab.stores["large"]) as store:
            tier = DecodedTier(store, folder / "tier")
            pixels = np.zeros_like(truth)
            Cached(StoreCrops(store), tier).read(np.arange(len(pixels)), pixels)
            if not (pixels == truth).all():
                raise Wrong("the tier served other pixels")
            if fill:
                tier.sync()
            return tier.stats()["hits"]

    def judge(self, folder: Path) -> str:
        hits = self.read(folder, fill=False) if (folder / "tier").exists() else 0
        return "new" if hits == _TWIN else "none"

    def finish(self, folder: Path) -> None:
        self.run(folder)

    discard = finish


WORKS = {"build": Fresh, "over": Over, "merge": Merge, "warm": Warm}


def restarted() -> None:
    """This process runs after a restart of the machine: a decoded tier asks when that was."""
    _tier_files._boot = lambda: "after the power cut"  # type: ignore[assignment]


def taken_up(
    work: Fresh, folder: Path, *, power_cut: bool, over: bool, refusable: bool = False
) -> str:
    """Judge what a fault left, take it up again, and judge that; returns what was there.

    Args:
        work: what was disturbed, in `folder`.
        power_cut: whether the machine lost what was not synced.
        over: the work had ended well: then its result must be there.
        refusable: resuming may be refused, if then the build can be discarded.
    """
    before = restarted if power_cut else None
    found: str = value_of(in_child(functools.partial(work.judge, folder), before=before))
    if over and found != work.after:
        raise Wrong(f"it had ended well, and {found!r} is there")
    end = in_child(functools.partial(work.finish, folder), before=before)
    if end.how == "typed" and refusable:
        found = f"{found}, resume refused ({end.value.partition(':')[0]})"
        end = in_child(functools.partial(work.discard, folder), before=before)
    value_of(end)
    now = value_of(in_child(functools.partial(work.judge, folder)))
    if now != work.after:
        raise Wrong(f"taken up again, it is {now!r}")
    left = {path.name for path in folder.iterdir()} - {OUT, "tier", "lost+found"}
    if left:
        raise Wrong(f"left behind: {sorted(left)}")
    return found
