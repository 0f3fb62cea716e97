from __future__ import annotations

import subprocess
import sys

import training.ranking


def test_public_names_are_those_that_are_there() -> None:
    names = training.ranking.__all__
    assert dir(training.ranking) == sorted(names)
    for name in names:
        getattr(training.ranking, name)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, training.ranking; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
