"""The parent's side of one engine: its process started, its lines read, its end made sure of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.peers._runner import Job

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE, _TICK = 5.0, 0.02  # seconds


class EngineFailedError(Exception):
    """The process ended otherwise than well; the message is its last line, or the time limit."""


def call(python: Path, module: str, task: str, job: Job, *, limit: float) -> list[dict[str, Any]]:
    """Run `prepare` or `run` of an engine in a process of its own; returns its JSON lines.

    Raises:
        EngineFailedError: it failed, or took longer than `limit` seconds.
    """
    command = (str(python), "-m", f"benchmarks.peers.{module}", task, job.told())
    log = Path(job.out).with_suffix(".log")
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            cwd=_ROOT,
            env=os.environ | {"TMPDIR": job.work},  # some leave locks and caches behind
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # so that its workers can be ended with it
        ) as child,
    ):
        try:
            said, _ = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise EngineFailedError(f"{task} took longer than {limit:.0f} s") from None
        finally:
            _end(child)
    if child.returncode != 0:
        raise EngineFailedError(f"{task} ended with {child.returncode}: {_last_line(log)}")
    return lines(said)


def lines(said: str) -> list[dict[str, Any]]:
    """The JSON objects among what a process printed: some engines print more."""
    found = []
    for line in said.splitlines():
        if line.startswith("{"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def _end(child: subprocess.Popen[str]) -> None:
    """Nothing of the child's session stays; what cleans up behind it is given a moment."""
    patience = _PATIENCE if child.returncode == 0 else 0.0
    try:
        while patience > 0:
            os.killpg(child.pid, 0)
            time.sleep(_TICK)
            patience -= _TICK
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _last_line(log: Path) -> str:
    told = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return told[-1][:300] if told else "it said nothing"
