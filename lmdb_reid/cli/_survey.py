"""What a machine offers and what is installed on it, seen from this process.

Nothing heavy is imported for it: versions come from metadata, a GPU from its driver.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import lmdb

from lmdb_reid._lazy import EXTRAS
from lmdb_reid._version import __version__
from lmdb_reid.errors import LmdbReidError
from lmdb_reid.machine import available_cores, cgroup, free_memory

BASE = ("numpy", "lmdb", "msgpack", "simplejpeg")
# Several distributions carry cv2; any of them will do.
_DISTRIBUTIONS = {
    "opencv": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    )
}
_OWN_PACKAGES = ("builders", "training")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found. Sizes are in bytes; None stands for what is not there, or has no limit."""

    versions: dict[str, str | None]
    codec: str | None
    codec_error: str | None
    cpus: int
    memory_bytes: int | None
    shm_bytes: int | None
    shm_free_bytes: int | None
    open_files_soft: int | None
    open_files_hard: int | None
    gpus: list[str]
    shadowed: dict[str, str | None]
    memory_free_bytes: int | None = None
    turbojpeg_error: str | None = None
    """Why PyTurboJPEG, which is installed, cannot be used as the codec."""
    lmdb_error: str | None = None
    """Why the LMDB that stores are read by cannot be used."""


def look_around() -> Survey:
    """Looks at the machine and the installation that this process runs in; changes nothing."""
    codec, codec_error = _codec()
    asked_for = os.environ.get("LMDB_REID_CODEC") == "pyturbojpeg"
    shm = shutil.disk_usage("/dev/shm") if Path("/dev/shm").is_dir() else None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Survey(
        versions=_versions(),
        codec=codec,
        codec_error=codec_error,
        cpus=available_cores(),
        memory_bytes=_usable_memory(),
        shm_bytes=shm.total if shm else None,
        shm_free_bytes=shm.free if shm else None,
        open_files_soft=None if soft == resource.RLIM_INFINITY else soft,
        open_files_hard=None if hard == resource.RLIM_INFINITY else hard,
        gpus=_gpus(),
        shadowed={name: path for name in _OWN_PACKAGES for path in _shadows(name)},
        memory_free_bytes=free_memory(),
        turbojpeg_error=None if asked_for else _turbojpeg_error(),
        lmdb_error=_lmdb_error(),
    )


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "lmdb_reid": __version__,
    }
    for name in dict.fromkeys(
        (*BASE, *(name for names in EXTRAS.values() for name in names.values()))
    ):
        versions[name] = _installed(name)
        if name == "lmdb":
            versions["liblmdb"] = _liblmdb()
    pyturbojpeg = _installed("PyTurboJPEG")
    if pyturbojpeg is not None:  # of an extra that few need: no line says that it is not there
        versions["PyTurboJPEG"] = pyturbojpeg
    return versions


def _liblmdb() -> str | None:
    """The version of the LMDB that stores are read by: the one of data format 1."""
    try:
        return ".".join(map(str, lmdb.version(lib_version=0)))
    except (TypeError, ValueError, lmdb.Error):
        return None


def _lmdb_error() -> str | None:
    try:
        lmdb.version(lib_version=0)
    except TypeError:
        return "this py-lmdb is older than 3.0 and cannot be asked for one"
    except (ValueError, lmdb.Error) as error:
        return str(error)
    return None


def _installed(name: str) -> str | None:
    """A distribution's version from its metadata: importing torch to ask it takes seconds."""
    for distribution in _DISTRIBUTIONS.get(name, (name,)):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _codec() -> tuple[str | None, str | None]:
    """(the codec in use, None), or (None, why there is none)."""
    try:
        # Here, because a codec that cannot be used fails when it is imported: that is a finding.
        from lmdb_reid.codec import codec_name

        return codec_name(), None
    except LmdbReidError as error:
        return None, str(error)


def _turbojpeg_error() -> str | None:
    """Why PyTurboJPEG cannot be used, where it is installed and is not the codec."""
    if _installed("PyTurboJPEG") is None:
        return None
    try:
        from lmdb_reid.codec._pyturbojpeg import PyTurboJpeg

        PyTurboJpeg()
    except LmdbReidError as error:
        return str(error)
    return None


def _usable_memory() -> int | None:
    """Bytes of memory in the machine, or what the container allows of them."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    limit = cgroup("memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _gpus() -> list[str]:
    """A line for each NVIDIA GPU, asked of its driver."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    if shutil.which(query[0]):
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
            return [line.strip() for line in done.stdout.splitlines() if line.strip()]
        except (OSError, subprocess.SubprocessError):
            pass  # installed without a driver, as in images built for both kinds of machine
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        found.append(fields.get("Model", path.parent.name).strip())
    return found


def _shadows(name: str) -> Iterator[str | None]:
    """What an import of `name` would take instead of our package.

    Yields nothing where it would take ours, else one path, or None where it would find nothing.
    Looks where this process imports from, then where a script in the current folder would.
    """
    ours = Path(__file__).resolve().parents[2] / name
    installed = importlib.util.find_spec(name)
    if installed is None:
        yield None
    elif _place(installed) != ours:
        yield str(_place(installed))
    else:
        here = PathFinder.find_spec(name, [str(Path.cwd())])
        if here is not None and here.origin is not None and _place(here) != ours:
            yield str(_place(here))


def _place(spec: ModuleSpec) -> Path:
    """The folder of a package, or the file of a module."""
    places = spec.submodule_search_locations
    return Path(next(iter(places)) if places else spec.origin or spec.name).resolve()
