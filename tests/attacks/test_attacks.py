"""Hostile input of every kind ends in an error of ours or in the right answer, within limits.

Each area's attacks run in one child with a limit on memory; one that takes ten seconds, or ends the
child, is a finding.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
AREAS = {
    **{"manifests": 180, "contents": 140, "pictures": 40, "tables": 60, "places": 60},
    "odd_manifests": 650,
}
"""At least so many attacks each."""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="limits of memory need Linux"
)


def outcomes(area: str, folder: Path) -> dict[str, dict[str, Any]]:
    """What came of each attack; a child that dies is followed by one for those that are left."""
    found: dict[str, dict[str, Any]] = {}
    begin: list[str] = []
    while True:
        words = [sys.executable, str(HERE / "child.py"), area, str(folder), *begin]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=environment, errors="replace"
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        names = [line["begun"] for line in lines if "begun" in line]
        found |= {line["name"]: line for line in lines if "name" in line}
        unfinished = [name for name in names if name not in found]
        if not unfinished:
            assert done.returncode == 0, done.stderr[-2000:]
            return found
        assert len(unfinished) == 1
        found[unfinished[0]] = {"outcome": f"the process ended with {done.returncode}"}
        left = _names_after(area, unfinished[0])
        if not left:
            return found
        begin = left[:1]


def _names_after(area: str, name: str) -> list[str]:
    script = f"import json, {area}; print(json.dumps(list({area}.ATTACKS)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, cwd=HERE)
    names: list[str] = json.loads(done.stdout)
    return names[names.index(name) + 1 :]


@pytest.mark.parametrize(
    "area",
    [pytest.param(area, marks=[pytest.mark.slow] * (area == "odd_manifests")) for area in AREAS],
)
def test_attacks_end_in_an_error_or_the_right_answer(area: str, tmp_path: Path) -> None:
    found = outcomes(area, tmp_path)
    bad = {
        name: line["outcome"]
        for name, line in found.items()
        if line["outcome"] not in ("typed", "answered")
    }
    assert not bad, json.dumps(bad, indent=1, ensure_ascii=True)
    assert len(found) >= AREAS[area]
    typed = sum(line["outcome"] == "typed" for line in found.values())
    print(f"{area}: {len(found)} attacks, {typed} errors, {len(found) - typed} answers")


def mutate(*words: object) -> str:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE / "mutate.py"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_changed_inputs_end_in_an_error_or_an_answer() -> None:
    told = mutate("--count", 100, "--seed", 3)
    assert told.count("100 inputs of seed 3, 0 findings") == 5


def test_what_was_found_once_is_found_no_more() -> None:
    kept = sorted((HERE / "found").iterdir())
    assert {file.name.partition("-")[0] for file in kept} == {
        *("manifests", "categories", "records", "headers", "csv")
    }
    assert json.loads(mutate("--replay", *kept)) == {}
