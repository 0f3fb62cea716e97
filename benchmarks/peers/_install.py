"""Environments of the peers: one folder each, pinned, made by `--install` and by nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Left to itself, a peer brings a torch or a numpy that it, or another's extension, cannot use.
_CONSTRAINTS = ("torch==2.13.0", "numpy<2.2")
_DONE, _FAILED, _CHECKOUT = "installed.txt", "failed.txt", "checkout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a peer needs; `name` is its folder's."""

    name: str
    requires: tuple[str, ...]
    """From PyPI, with versions."""
    debian: tuple[str, ...] = ()
    """Packages of Debian that must be there first."""
    constraints: tuple[str, ...] = _CONSTRAINTS
    options: tuple[str, ...] = ()
    """For pip."""
    checkout: tuple[str, str] | None = None
    """A git repository and its commit, imported as it stands: for what pip cannot build here."""


def interpreter(environment: Environment | None, envs: Path) -> Path:
    """The Python of an environment; None is the project's own."""
    if environment is None:
        return Path(sys.executable)
    return envs / environment.name / "bin" / "python"


def missing(environment: Environment | None, envs: Path) -> str | None:
    """Why an environment cannot be used, or None if it can."""
    if environment is None:
        return None
    folder = envs / environment.name
    if (folder / _FAILED).exists():
        return (folder / _FAILED).read_text().strip()
    if not (folder / _DONE).exists():
        return f"not installed in {folder}: run with --install first"
    if (folder / _DONE).read_text() != _wanted(environment):
        return f"{folder} has other versions than are wanted: run with --install again"
    return None


def install(environment: Environment, envs: Path, say: Callable[[str], None] = print) -> bool:
    """Make an environment, or leave in it the reason why it cannot be had; whether it is there."""
    folder = envs / environment.name
    if missing(environment, envs) is None:
        say(f"{environment.name}: there already")
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say(f"{environment.name}: {', '.join(environment.requires)}")
    limits = folder / "constraints.txt"
    limits.write_text("\n".join(environment.constraints) + "\n")
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check")
    steps = [
        _debian_step(environment.debian),
        (sys.executable, "-m", "venv", str(folder)),
        (*pip, *environment.constraints, "setuptools<81", "wheel"),
        (*pip, *environment.options, "-c", str(limits), *environment.requires),
        *_checkout_steps(environment.checkout, folder / _CHECKOUT),
    ]
    for step in filter(None, steps):
        reason = _failure(step, folder / "install.log")
        if reason is not None:
            (folder / _FAILED).write_text(reason + "\n")
            say(f"{environment.name}: {reason} (all of it in {folder / 'install.log'})")
            return False
    if environment.checkout is not None:
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "checkout.pth").write_text(f"{folder / _CHECKOUT}\n")
    (folder / _DONE).write_text(_wanted(environment))
    return True


def _checkout_steps(checkout: tuple[str, str] | None, folder: Path) -> list[tuple[str, ...]]:
    if checkout is None:
        return []
    repository, commit = checkout
    return [
        ("git", "clone", "--quiet", "--no-checkout", repository, str(folder)),
        ("git", "-C", str(folder), "checkout", "--quiet", commit),
    ]


def _debian_step(packages: tuple[str, ...]) -> tuple[str, ...]:
    """The command that brings what is not there yet; empty where all is."""
    lacking = tuple(name for name in packages if not _has(name))
    if not lacking:
        return ()
    rights = () if os.geteuid() == 0 else ("sudo", "-n")
    return (*rights, "apt-get", "install", "-y", "--no-install-recommends", *lacking)


def _has(package: str) -> bool:
    try:
        asked = subprocess.run(
            ("dpkg-query", "-W", "-f", "${Status}", package), capture_output=True, check=False
        )
    except FileNotFoundError:  # not a Debian
        return False
    return asked.stdout.endswith(b" installed")


def _failure(command: tuple[str, ...], log: Path) -> str | None:
    """Run a step of the installation; what went wrong, in one line, or None."""
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        try:
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
            ).returncode
        except FileNotFoundError:
            return f"there is no command {command[0]}"
    if code == 0:
        return None
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    told = [line for line in lines if line.lower().startswith(("error", "e:"))]
    return f"{Path(command[0]).name} failed: {(told or lines)[-1][:300]}"


def _wanted(environment: Environment) -> str:
    wanted = (*environment.constraints, *environment.requires, *(environment.checkout or ()))
    return "\n".join(wanted) + "\n"
