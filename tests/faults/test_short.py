"""The short form of the fault tests, in a process of its own: it forks, and its children die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and reads /proc")
def test_a_few_faults_of_each_kind() -> None:
    words = [sys.executable, "-m", "tests.faults", "--short"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
    assert "6 of 6" in done.stdout
