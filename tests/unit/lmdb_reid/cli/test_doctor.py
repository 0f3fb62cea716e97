from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lmdb_reid.cli import _survey, doctor
from lmdb_reid.cli._survey import BASE, Survey, look_around

GIB = 1 << 30

HEALTHY = Survey(
    versions={
        "python": "3.11.7",
        "lmdb_reid": "0.1.0",
        "numpy": "2.0.0",
        "lmdb": "3.0.0",
        "liblmdb": "0.9.36",
        "msgpack": "1.1.0",
        "simplejpeg": "1.9.0",
        "opencv": "5.0",
        "pandas": "3.0",
        "pillow": "12.0",
        "av": "18.1",
        "matplotlib": "3.10",
        "jsonargparse": "4.40",
        "shtab": "1.13",
        "torch": "2.13.0",
        "lightning": "2.6",
    },
    codec="simplejpeg 1.9.0",
    codec_error=None,
    cpus=8,
    memory_bytes=16 * GIB,
    shm_bytes=8 * GIB,
    shm_free_bytes=8 * GIB,
    open_files_soft=65536,
    open_files_hard=None,
    gpus=["NVIDIA H200"],
    shadowed={},
)


def changed(**fields: object) -> list[doctor.Finding]:
    return list(doctor.judge(dataclasses.replace(HEALTHY, **fields)))


def test_a_py_lmdb_without_the_engine_of_stores_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (finding,) = changed(lmdb_error="this build has no LMDB 0.x engine.")
    assert finding.problem
    assert "data format 1" in finding.what
    assert "this build has no LMDB 0.x engine." in finding.what
    assert look_around().lmdb_error is None
    assert str(look_around().versions["liblmdb"]).startswith("0.9.")

    def older() -> tuple[int, int, int]:
        return 0, 9, 31

    monkeypatch.setattr("lmdb.version", older)
    survey = look_around()
    assert "older than 3.0" in str(survey.lmdb_error)
    assert survey.versions["liblmdb"] is None


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    doctor.configure(parser)
    return parser.parse_args(words)


def test_nothing_to_say_about_a_healthy_machine() -> None:
    assert changed() == []


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"open_files_soft": 1024}, "ulimit -n 4096"),
        ({"open_files_soft": 4095, "open_files_hard": 4096}, "ulimit -n 4096"),
        ({"open_files_soft": 256, "open_files_hard": 1024}, "--ulimit nofile=4096:4096"),
        ({"shm_bytes": 64 << 20, "shm_free_bytes": 64 << 20}, "--shm-size"),
        ({"shm_bytes": 8 * GIB, "shm_free_bytes": 1 << 20}, "ls -l /dev/shm"),
        ({"shadowed": {"training": "/elsewhere/training"}}, "PYTHONPATH"),
        ({"shadowed": {"builders": None}}, "--force-reinstall"),
        ({"codec": None, "codec_error": "install libturbojpeg 3"}, "install libturbojpeg 3"),
    ],
)
def test_problems_say_what_to_change(fields: dict[str, object], change: str) -> None:
    (finding,) = changed(**fields)
    assert finding.problem
    assert change in finding.change


def test_a_pyturbojpeg_without_its_library_is_worth_knowing() -> None:
    (finding,) = changed(turbojpeg_error="it needs libturbojpeg 3, and 2.1.5 is none")
    assert not finding.problem
    assert "PyTurboJPEG" in finding.what
    assert "needs libturbojpeg 3" in finding.change


def test_pyturbojpeg_is_asked_only_where_it_is_installed_and_not_the_codec(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = _survey._installed("PyTurboJPEG") is not None
    assert ("PyTurboJPEG" in look_around().versions) == installed
    monkeypatch.setattr(_survey, "_installed", lambda name: "2.6.1")
    monkeypatch.setitem(sys.modules, "turbojpeg", None)
    monkeypatch.delitem(sys.modules, "lmdb_reid.codec._pyturbojpeg", raising=False)
    survey = look_around()
    assert survey.versions["PyTurboJPEG"] == "2.6.1"
    assert "lmdb_reid[turbojpeg]" in str(survey.turbojpeg_error)
    monkeypatch.setenv("LMDB_REID_CODEC", "pyturbojpeg")
    assert look_around().turbojpeg_error is None  # then it is the codec's own error


def test_sizes_are_said_in_units_that_show_them() -> None:
    (finding,) = changed(shm_bytes=64 << 20, shm_free_bytes=64 << 20)
    assert finding.what.startswith("/dev/shm holds 67.1 MB: ")


@pytest.mark.parametrize(
    "fields",
    [
        {"open_files_soft": 4096},
        {"open_files_soft": None},
        {"shm_bytes": GIB, "shm_free_bytes": GIB},
        {"shm_bytes": None, "shm_free_bytes": None},
    ],
)
def test_enough_is_enough(fields: dict[str, object]) -> None:
    assert changed(**fields) == []


def test_a_missing_extra_is_a_note() -> None:
    (finding,) = changed(versions=HEALTHY.versions | {"torch": None, "lightning": None})
    assert not finding.problem
    assert finding.what == "not installed: torch, lightning"
    assert finding.change == 'pip install "lmdb_reid[train]"'


def test_a_cpu_build_of_torch_is_worth_a_note_only_beside_a_gpu() -> None:
    versions = HEALTHY.versions | {"torch": "2.13.0+cpu"}
    (finding,) = changed(versions=versions)
    assert not finding.problem
    assert "2.13.0+cpu" in finding.what
    assert changed(versions=versions, gpus=[]) == []


def test_the_survey_is_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    survey = look_around()
    assert survey.versions["python"] == sys.version.split()[0]
    assert None not in [survey.versions[name] for name in BASE]
    assert survey.versions["liblmdb"]
    assert survey.codec
    assert survey.codec_error is None
    assert 1 <= survey.cpus <= len(os.sched_getaffinity(0))
    assert survey.memory_bytes
    assert survey.open_files_soft in (resource.getrlimit(resource.RLIMIT_NOFILE)[0], None)
    assert survey.shadowed == {}


def test_a_codec_that_cannot_be_used_is_a_finding() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lmdb_reid.cli", "doctor", "--json"],
        env=os.environ | {"LMDB_REID_CODEC": "no-such-codec"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["codec"] is None
    assert report["findings"][0]["what"] == "no JPEG codec can be used"
    assert "no-such-codec" in report["findings"][0]["change"]


@pytest.mark.parametrize("first_on", ["sys.path", "the current folder"])
@pytest.mark.parametrize("shape", ["package", "module"])
def test_a_package_in_the_way_is_found_and_not_imported(
    first_on: str, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / ("training" if shape == "package" else "training.py")
    if shape == "package":
        place.mkdir()
    code = place / "__init__.py" if shape == "package" else place
    code.write_text("raise SystemError('imported')")
    monkeypatch.delitem(sys.modules, "training", raising=False)
    if first_on == "sys.path":
        monkeypatch.syspath_prepend(tmp_path)
    else:
        monkeypatch.chdir(tmp_path)
    assert look_around().shadowed == {"training": str(place.resolve())}


def test_a_plain_folder_is_not_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "training").mkdir()
    monkeypatch.chdir(tmp_path)
    assert look_around().shadowed == {}


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        ("echo 'NVIDIA H200, 143771 MiB, 580.1'", ["NVIDIA H200, 143771 MiB, 580.1"]),
        ("echo 'no driver'; exit 9", []),
    ],
)
def test_gpus_are_asked_of_the_driver(
    script: str, seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not seen and Path("/proc/driver/nvidia/gpus").exists():
        pytest.skip("this machine's driver answers where nvidia-smi does not")
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert look_around().gpus == seen


def test_json_has_the_survey_and_the_findings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = dataclasses.replace(HEALTHY, open_files_soft=1024, gpus=[])
    monkeypatch.setattr(doctor, "look_around", lambda: survey)
    assert doctor.run(parsed("--json")) == 1
    shown = json.loads(capsys.readouterr().out)
    (finding,) = shown.pop("findings")
    assert finding["problem"] is True
    assert "ulimit -n 4096" in finding["change"]
    assert shown.pop("cache") is None
    assert Survey(**shown) == survey


@pytest.mark.parametrize(
    ("free", "code", "line"),
    [
        (24, 0, "fits: 12.04 GB of 25.77 GB free, for"),
        (12, 1, "does not fit: 12.04 GB of 12.88 GB free, for"),
        (None, 0, "unknown: 12.04 GB, for"),
    ],
)
def test_what_was_asked_of_a_cache_is_answered(
    free: int | None,
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bytes_free = None if free is None else free * GIB
    survey = dataclasses.replace(HEALTHY, memory_free_bytes=bytes_free)
    monkeypatch.setattr(doctor, "look_around", lambda: survey)
    words = ["--cache-size", "10000", "--size", "224x224", "--num-workers", "8"]
    assert doctor.run(parsed(*words)) == code
    (found,) = [row for row in capsys.readouterr().out.splitlines() if row.startswith("cache ")]
    assert found.split(maxsplit=1)[1] == f"{line} 10,000 images of 224x224 in each of 8 processes"
    assert doctor.run(parsed(*words, "--json")) == code
    cache = json.loads(capsys.readouterr().out)["cache"]
    assert (cache["bytes"], cache["fits"]) == (12_042_240_000, None if free is None else not code)


@pytest.mark.parametrize(
    ("fields", "code", "last"),
    [
        ({}, 0, "no problem found"),
        ({"versions": HEALTHY.versions | {"torch": None}}, 0, "no problem found"),
        ({"open_files_soft": 1024}, 1, "  -> ulimit -n 4096"),
    ],
)
def test_lines(
    fields: dict[str, object],
    code: int,
    last: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "look_around", lambda: dataclasses.replace(HEALTHY, **fields))
    assert doctor.run(parsed()) == code
    lines = capsys.readouterr().out.splitlines()
    assert "codec         simplejpeg 1.9.0" in lines
    assert "memory        17.18 GB" in lines
    assert lines[-1] == last


def test_none_seen_and_not_installed_are_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = dataclasses.replace(
        HEALTHY, gpus=[], versions=HEALTHY.versions | {"torch": None}, open_files_soft=None
    )
    monkeypatch.setattr(doctor, "look_around", lambda: survey)
    assert doctor.run(parsed()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "gpu           none seen" in lines
    assert "torch         not installed" in lines
    assert "open files    unlimited soft, unlimited hard" in lines
