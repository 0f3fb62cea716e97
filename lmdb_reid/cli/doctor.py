"""`lmdb-reid doctor`: what is installed, what the machine offers, what to change."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator

from lmdb_reid._lazy import EXTRAS
from lmdb_reid.cli._survey import Survey, look_around
from lmdb_reid.cli.output import print_json
from lmdb_reid.errors import UsageError
from lmdb_reid.machine import size_in_words
from lmdb_reid.schema import DEFAULT_SIZE, Size, parse_size

# torch's worker processes pass every batch through /dev/shm (8 workers with 2 batches of 256 crops
# each: 400 MB), and hold a descriptor open for every tensor on its way.
ENOUGH_SHM = 1 << 30
ENOUGH_FILES = 4096
ROOM = 0.8  # of the free memory that caches may take


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something worth changing. `problem` is False for what is merely worth knowing."""

    problem: bool
    what: str
    change: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """An LRU of decoded images that training is to have in each of its processes."""

    items: int
    size: Size = DEFAULT_SIZE
    processes: int = 1

    @property
    def image_bytes(self) -> int:
        """Of one decoded image."""
        return self.size[0] * self.size[1] * 3

    @property
    def bytes(self) -> int:
        """Of all processes together."""
        return self.items * self.image_bytes * self.processes

    def fits(self, free: int | None) -> bool | None:
        """Whether it leaves enough of the free memory; None if that is unknown."""
        return None if free is None else self.bytes <= ROOM * free

    def __str__(self) -> str:
        height, width = self.size
        each = "" if self.processes == 1 else f" in each of {self.processes} processes"
        return f"{self.items:,} images of {height}x{width}{each}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lmdb-reid doctor`."""
    add = parser.add_argument
    add(
        "--cache-size",
        type=int,
        metavar="N",
        help="check whether an LRU cache of N images fits in memory",
    )
    add(
        "--size",
        default="256x128",
        metavar="HxW",
        help="assume images of this size (default: %(default)s)",
    )
    add(
        "--num-workers",
        type=int,
        default=1,
        metavar="N",
        help="assume N worker processes, each with its own cache (default: 1)",
    )
    add("--json", action="store_true", help="print the findings as JSON")
    parser.epilog = """example:
  lmdb-reid doctor
  lmdb-reid doctor --cache-size 10000 --size 224x224 --num-workers 8

The exit code is 1 if a problem is found. A missing extra does not count as a problem."""


def run(args: argparse.Namespace) -> int:
    """Prints the survey and what to change; 1 where something is a problem."""
    plan = _plan(args)
    survey = look_around()
    findings = list(judge(survey, plan))
    if args.json:
        found = [dataclasses.asdict(finding) for finding in findings]
        cache = None if plan is None else _cache_json(plan, survey.memory_free_bytes)
        print_json(dataclasses.asdict(survey) | {"cache": cache, "findings": found})
    else:
        print("\n".join(_lines(survey, findings, plan)))
    return int(any(finding.problem for finding in findings))


def judge(survey: Survey, plan: CachePlan | None = None) -> Iterator[Finding]:
    """What to change, problems first; a pure function of the survey and of what is planned."""
    if survey.codec_error:
        yield Finding(problem=True, what="no JPEG codec can be used", change=survey.codec_error)
    if survey.lmdb_error:
        yield Finding(
            problem=True,
            what=f"no LMDB of data format 1, which stores are written in: {survey.lmdb_error}",
            change='pip install --force-reinstall --only-binary lmdb "lmdb>=3.0" (its wheels'
            " bring one)",
        )
    for name, path in survey.shadowed.items():
        yield _shadow_finding(name, path)
    if survey.open_files_soft is not None and survey.open_files_soft < ENOUGH_FILES:
        yield _open_files_finding(survey)
    yield from _shm_findings(survey)
    if plan is not None and survey.memory_free_bytes is not None:
        yield from _cache_findings(plan, survey.memory_free_bytes)
    if survey.turbojpeg_error:
        yield Finding(
            problem=False,
            what="PyTurboJPEG is installed and cannot be the codec",
            change=survey.turbojpeg_error,
        )
    torch = survey.versions.get("torch")
    if survey.gpus and torch and torch.endswith("+cpu"):
        yield Finding(
            problem=False,
            what=f"torch {torch} is a CPU build and will not see the GPU",
            change="install a CUDA build of torch",
        )
    named: set[str] = set()
    for extra, modules in EXTRAS.items():
        packages = dict.fromkeys(modules.values())
        missing = [name for name in packages if survey.versions.get(name) is None]
        if not named.issuperset(missing):  # `train` brings torch too
            named.update(missing)
            yield Finding(
                problem=False,
                what=f"not installed: {', '.join(missing)}",
                change=f'pip install "lmdb_reid[{extra}]"',
            )


def _shadow_finding(name: str, path: str | None) -> Finding:
    if path is None:
        return Finding(
            problem=True,
            what=f"lmdb_reid's package {name} cannot be found",
            change="pip install --force-reinstall --no-deps lmdb_reid",
        )
    return Finding(
        problem=True,
        what=f"`import {name}` would take {path}, not lmdb_reid's own",
        change="rename that one, or take its folder off PYTHONPATH (or run from another folder)",
    )


def _open_files_finding(survey: Survey) -> Finding:
    hard = survey.open_files_hard
    if hard is None or hard >= ENOUGH_FILES:
        change = f"ulimit -n {ENOUGH_FILES}"
    else:
        change = (
            f"docker run --ulimit nofile={ENOUGH_FILES}:{ENOUGH_FILES}, "
            f"or nofile in /etc/security/limits.conf"
        )
    return Finding(
        problem=True,
        what=(
            f"a process may open {survey.open_files_soft} files: many workers need {ENOUGH_FILES}"
            ' ("Too many open files" ends with fewer num_workers too)'
        ),
        change=change,
    )


def _shm_findings(survey: Survey) -> Iterator[Finding]:
    size, free = survey.shm_bytes, survey.shm_free_bytes
    if size is not None and size < ENOUGH_SHM:
        yield Finding(
            problem=True,
            what=f"/dev/shm holds {_size(size)}: worker processes pass their batches through it",
            change="docker run --shm-size=8g (Kubernetes: an emptyDir of medium Memory there)",
        )
    elif free is not None and free < ENOUGH_SHM:
        yield Finding(
            problem=True,
            what=f"/dev/shm has {_size(free)} left of {_size(size)}",
            change="remove what dead runs left there: ls -l /dev/shm",
        )


def _cache_findings(plan: CachePlan, free: int) -> Iterator[Finding]:
    if plan.fits(free):
        return
    fitting = int(ROOM * free / plan.processes / plan.image_bytes)
    others = "" if plan.processes == 1 else ", or engine='threads', whose workers share one cache"
    yield Finding(
        problem=True,
        what=(f"a cache of {plan} takes {_size(plan.bytes)}: {_size(free)} of memory are free"),
        change=f"cache_size={fitting} (or LRUCache(bytes={fitting * plan.image_bytes})){others}",
    )


def _plan(args: argparse.Namespace) -> CachePlan | None:
    if args.cache_size is None:
        return None
    for name in ("cache_size", "num_workers"):
        if getattr(args, name) < 1:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} must be at least 1, got {getattr(args, name)}")
    size = parse_size(args.size)
    if size is None:
        raise UsageError("--size must be HEIGHTxWIDTH, such as 256x128, got 'native'")
    return CachePlan(items=args.cache_size, size=size, processes=args.num_workers)


def _cache_json(plan: CachePlan, free: int | None) -> dict[str, object]:
    return dataclasses.asdict(plan) | {"bytes": plan.bytes, "fits": plan.fits(free)}


def _lines(survey: Survey, findings: list[Finding], plan: CachePlan | None = None) -> Iterator[str]:
    rows = {name: version or "not installed" for name, version in survey.versions.items()}
    rows["codec"] = survey.codec or "none"
    rows["cpu cores"] = str(survey.cpus)
    free = survey.memory_free_bytes
    rows["memory"] = _size(survey.memory_bytes) + ("" if free is None else f", {_size(free)} free")
    if plan is not None:
        answer = {True: "fits", False: "does not fit", None: "unknown"}[plan.fits(free)]
        left = "" if free is None else f" of {_size(free)} free"
        rows["cache"] = f"{answer}: {_size(plan.bytes)}{left}, for {plan}"
    rows["/dev/shm"] = f"{_size(survey.shm_bytes)}, {_size(survey.shm_free_bytes)} free"
    soft, hard = survey.open_files_soft, survey.open_files_hard
    rows["open files"] = f"{soft or 'unlimited'} soft, {hard or 'unlimited'} hard"
    rows["gpu"] = "; ".join(survey.gpus) or "none seen"
    width = max(map(len, rows))
    yield from (f"{name:<{width}}  {value}" for name, value in rows.items())
    yield ""
    for finding in findings:
        yield f"{'problem' if finding.problem else 'note'}: {finding.what}"
        yield f"  -> {finding.change}"
    if not any(finding.problem for finding in findings):
        yield "no problem found"


def _size(size: int | None) -> str:
    return "none" if size is None else size_in_words(size)
