"""The comparison of loaders: its options, its sums, what it draws, and what it does about failures.

Nothing here measures.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import chart, harness, loaders
from benchmarks.peers import _field, _rounds
from benchmarks.peers._course import Course, lay_out, spread_out
from benchmarks.peers._field import PEERS, Entry, chosen
from benchmarks.peers._install import Environment, install, missing
from benchmarks.peers._process import EngineFailedError, call, lines
from benchmarks.peers._rounds import Rounds, Settings, run, taken
from benchmarks.peers._runner import Job, check
from lmdb_reid import Store
from lmdb_reid.codec import decode, encode
from lmdb_reid.errors import UsageError

SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "docs" / "img"
RESULT = json.loads((ROOT / "benchmarks/results/2026-11-25-loaders.json").read_text())
KEPT = RESULT["engines"]
OURS = Entry(module="ours", variant="threads", title="lmdb_reid, threads", group="ours")
CEILING = Entry(module="ceiling", variant="accurate", title="decode ceiling", group="ceiling")
TIER = Entry(module="ours", variant="tier", title="tier", group="ours", warm=True)
FILES = Entry(module="files", variant="pil", title="<files> & PIL")
ABSENT = Environment(name="absent", requires=("nothing==1.0",))
EQUAL = {"missing": 0, "repeated": 0, "largest": 0, "mean": 0.0}


def pictures(count: int, size: tuple[int, int] = (16, 8)) -> list[bytes]:
    draw = np.random.default_rng(count)
    return [encode(draw.integers(0, 256, (*size, 3)).astype(np.uint8)) for _ in range(count)]


def rounds_of(**rates: list[list[float]]) -> Rounds:
    done = Rounds(rates={key.replace("_", "-"): rounds for key, rounds in rates.items()})
    for key, rounds in done.rates.items():
        done.first_epochs[key] = [2.0] * len(rounds)
        done.versions[key] = {"numpy": "2.0"}
        if not key.startswith("ceiling"):
            done.checks[key] = EQUAL
    return done


@pytest.fixture
def result() -> dict[str, Any]:
    done = rounds_of(
        ceiling_accurate=[[100.0, 110.0, 120.0], [200.0, 200.0, 200.0]],
        ours_threads=[[99.0, 99.0, 90.0], [150.0, 160.0, 170.0]],
        files_pil=[[11.0, 11.0, 11.0], [40.0, 40.0, 40.0]],
        ours_tier=[[900.0, 1100.0, 1000.0], [1000.0, 1000.0, 1000.0]],
    )
    done.skipped["dali-fast"] = "not installed"
    return {
        "crops": 1000,
        "size": [16, 8],
        "jpeg_bytes": 500_000,
        "settings": {"batch_size": 256, "num_workers": 2, "repeats": 2},
    } | loaders.summary(done, [CEILING, OURS, FILES, TIER])


class TestArguments:
    def test_a_full_run_and_a_small_one_differ_in_length_only(self) -> None:
        full, small = (
            loaders.arguments(["--store", "s.lmdb", *more]) for more in ([], ["--small"])
        )
        assert (full.repeats, full.epochs, full.seconds) == (5, 3, 3.0)
        assert (small.repeats, small.epochs, small.seconds) == (1, 2, 0.0)
        assert (
            (full.batch_size, full.num_workers) == (small.batch_size, small.num_workers) == (256, 2)
        )

    def test_what_is_given_goes_before_what_small_means(self) -> None:
        args = loaders.arguments(["--crops", "d", "--small", "--repeats", "7", "--epochs", "9"])
        assert (args.repeats, args.epochs) == (7, 9)

    def test_environments_are_looked_for_at_home(self) -> None:
        envs = loaders.arguments(["--install"]).envs
        assert envs.is_absolute()
        assert envs.name == "lmdb_reid-peers"

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["--store", "s", "--crops", "d"],
            ["--store", "s", "--batch-size", "0"],
            ["--store", "s", "--num-workers", "-1"],
            ["--store", "s", "--repeats", "0"],
        ],
        ids=" ".join,
    )
    def test_wrong_use_ends_with_2(
        self, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stop:
            loaders.arguments(words)
        assert stop.value.code == 2
        assert "error:" in capsys.readouterr().err

    def test_peers_by_name(self) -> None:
        assert loaders.named("all") == list(PEERS)
        assert loaders.named("none") == []
        assert loaders.named("ffcv,spdl") == ["ffcv", "spdl"]

    def test_ours_and_the_ceilings_always_run(self) -> None:
        entries = chosen(["ffcv"])
        assert {entry.module for entry in entries} == {"ceiling", "ours", "gather", "ffcv"}
        assert {entry.key for entry in entries if entry.module == "ffcv"} == {
            "ffcv-jpg",
            "ffcv-raw",
        }

    def test_an_unknown_peer_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert loaders.main(["--store", "s.lmdb", "--peers", "ffcv,tfrecord"]) == 2
        assert "no peer tfrecord" in capsys.readouterr().err


class TestField:
    def test_keys_are_unique_and_each_has_a_module(self) -> None:
        keys = [entry.key for entry in _field.ENTRIES]
        assert len(set(keys)) == len(keys)
        folder = Path(_field.__file__).parent
        assert all((folder / f"{entry.module}.py").is_file() for entry in _field.ENTRIES)

    def test_comparisons_and_ceilings_name_engines_that_race(self) -> None:
        keys = {entry.key for entry in _field.ENTRIES}
        assert {entry.ceiling for entry in _field.ENTRIES} <= keys
        named = {key for _, of, over, _ in loaders.COMPARISONS for key in (of, over) if key}
        assert named <= keys

    def test_what_peers_need_is_pinned(self) -> None:
        for environment in {entry.environment for entry in _field.ENTRIES} - {None}:
            assert environment is not None
            assert re.fullmatch(r"[\w-]+==[\d.]+", environment.requires[0])


class TestSummary:
    def test_rates_are_of_all_epochs(self, result: dict[str, Any]) -> None:
        rates = result["engines"]["ours-threads"]["crops_per_s"]
        assert rates == {"min": 90.0, "median": 124.5, "max": 170.0}

    def test_a_ratio_is_taken_within_a_round(self, result: dict[str, Any]) -> None:
        # 99/110 and 160/200; across the rounds it would be anything from 0.45 to 1.7
        assert result["engines"]["ours-threads"]["of_ceiling"] == pytest.approx(
            {"min": 0.8, "median": 0.85, "max": 0.9}
        )

    def test_comparisons(self, result: dict[str, Any]) -> None:
        found = {row["what"]: row for row in result["comparisons"]}
        files = found["against JPEG files + PIL + DataLoader"]
        assert files["found"] == pytest.approx({"min": 4.0, "median": 6.5, "max": 9.0})
        assert files["at_least"] == 3.0
        assert found["decoded tier, crops/s"]["found"]["median"] == 1000.0
        assert "fast_dct=True, against FFCV" not in found  # FFCV did not run

    def test_it_can_be_kept_as_json(self, result: dict[str, Any]) -> None:
        assert json.loads(json.dumps(result)) == result

    def test_the_table_tells_all(self, result: dict[str, Any]) -> None:
        text = loaders.told(result)
        assert re.search(r"lmdb_reid, threads +124 +90 +170 +0\.850 \(0\.800-0\.900\)", text)
        assert "skip dali-fast: not installed" in text
        assert re.search(r"against JPEG files .* 6\.500 +4\.000 +9\.000 +3\.0", text)

    def test_wrong_pixels_of_ours_are_a_fault_and_a_peers_are_told(
        self, result: dict[str, Any]
    ) -> None:
        apart = EQUAL | {"largest": 3, "mean": 0.25, "missing": 2}
        result["engines"]["files-pil"]["pixels"] = apart
        assert loaders.faults(result, [OURS, FILES, TIER]) == []
        assert "up to 3, mean 0.25 off, 2 crops missing" in loaders.told(result)
        result["engines"]["ours-threads"]["pixels"] = apart
        assert loaders.faults(result, [OURS, FILES, TIER]) == [
            "ours-threads: up to 3, mean 0.25 off, 2 crops missing"
        ]

    def test_an_engine_of_ours_that_fails_is_a_fault(self, result: dict[str, Any]) -> None:
        result["skipped"]["ours-processes"] = "run ended with 1"
        processes = Entry(module="ours", variant="processes", title="", group="ours")
        assert loaders.faults(result, [processes]) == ["ours-processes: run ended with 1"]

    def test_the_first_epoch_does_not_count(self) -> None:
        said: list[dict[str, Any]] = [
            {"versions": {}},
            {"epoch": 0, "seconds": 9.0, "samples": 10},
            {"epoch": 1, "seconds": 2.0, "samples": 10},
            {"epoch": 2, "seconds": 4.0, "samples": 10},
        ]
        assert taken(said) == (9.0, [5.0, 2.5])
        with pytest.raises(EngineFailedError, match="1 epochs"):
            taken(said[:2])


class TestMain:
    @pytest.fixture(autouse=True)
    def elsewhere(
        self, result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
        monkeypatch.setattr(loaders, "measured", lambda *_: result)

    def test_a_result_is_kept_and_drawn_beside_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert loaders.main(["--store", "s.lmdb", "--json"]) == 0
        dark, kept, drawn = sorted((tmp_path / "results").iterdir())
        assert (kept.suffix, drawn.suffix, kept.stem) == (".json", ".svg", drawn.stem)
        assert dark.name == f"{kept.stem}-dark.svg"
        found = json.loads(kept.read_text())
        assert set(found["passport"]) >= {"cpu", "cores", "versions"}
        assert set(json.loads(capsys.readouterr().out)) == set(found)
        assert drawn.read_text() == chart.drawn(found)
        assert dark.read_text() == chart.drawn(found, chart.DARK)

    def test_a_small_run_keeps_nothing(self, tmp_path: Path) -> None:
        assert loaders.main(["--store", "s.lmdb", "--small"]) == 0
        assert not (tmp_path / "results").exists()

    def test_a_fault_ends_with_1(
        self, result: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        result["skipped"]["ours-processes"] = "run ended with 1"
        assert loaders.main(["--store", "s.lmdb", "--small"]) == 1
        assert "ours-processes: run ended with 1" in capsys.readouterr().err


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2.1 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


class TestChart:
    def test_it_is_well_formed_and_shows_every_engine(self, result: dict[str, Any]) -> None:
        root = ElementTree.fromstring(chart.drawn(result))
        texts = {element.text for element in root.iter(f"{SVG}text")}
        assert root.tag == f"{SVG}svg"
        assert {"lmdb_reid, threads", "<files> & PIL", "tier", "decode ceiling"} <= texts
        assert "124 (78%)" in texts

    def test_bars_of_a_panel_are_as_long_as_their_medians(self, result: dict[str, Any]) -> None:
        root = ElementTree.fromstring(chart.drawn(result))
        bars = [float(bar.get("width", "")) for bar in root.iter(f"{SVG}rect") if bar.get("x")]
        ceiling, ours, files, tier = bars[: -len(chart._LEGEND)]
        assert ours / ceiling == pytest.approx(124.5 / 160, abs=0.01)
        assert files / ceiling == pytest.approx(25.5 / 160, abs=0.01)
        assert tier > ours  # a scale of its own

    def test_a_percentage_is_a_bar_over_its_ceilings(self) -> None:
        for file in ("loaders.svg", "loaders-short.svg"):
            root = ElementTree.parse(IMAGES / file).getroot()
            bars = [float(b.get("width", "")) for b in root.iter(f"{SVG}rect") if b.get("x")]
            texts = list(root.iter(f"{SVG}text"))
            titles = [text.text or "" for text in texts if text.get("text-anchor") == "end"]
            shown = [
                text.text or "" for text in texts if re.match(r"[\d,]+( \(|$)", text.text or "")
            ]
            assert len(titles) == len(shown) == len(bars) - len(chart._LEGEND)
            accurate = bars[titles.index("decode ceiling, accurate DCT")]
            found = 0
            for title, width, text in zip(titles, bars, shown, strict=False):
                if title.endswith(("threads", "processes", "on the CPU")):
                    (percent,) = re.findall(r"\((\d+)%\)", text)
                    assert abs(100 * width / accurate - int(percent)) < 0.6
                    found += 1
            assert found == 3

    def test_the_pictures_of_the_pages_are_drawn_from_the_kept_result(self) -> None:
        for name, keys in (("loaders", None), ("loaders-short", chart.SHORT)):
            for end, colours in (("", chart.LIGHT), ("-dark", chart.DARK)):
                drawn = (IMAGES / f"{name}{end}.svg").read_text()
                assert drawn == chart.drawn({**RESULT, "engines": KEPT}, colours, keys)
        assert set(chart.SHORT) <= set(KEPT)

    def test_texts_can_be_read_on_their_paper(self) -> None:
        for colours in (chart.LIGHT, chart.DARK):
            for text in (colours.ink, colours.quiet):
                assert contrast(text, colours.paper) >= 4.5  # WCAG 2.1, AA

    def test_all_of_it_lies_inside(self, result: dict[str, Any]) -> None:
        root = ElementTree.fromstring(chart.drawn(result))
        _, _, width, height = map(float, root.get("viewBox", "").split())
        for text in root.iter(f"{SVG}text"):
            assert 0 <= float(text.get("x", "nan")) < width
            assert 0 <= float(text.get("y", "nan")) < height

    def test_the_command_draws_a_kept_result(
        self, result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = tmp_path / "2026-01-01-loaders.json"
        kept.write_text(json.dumps(result))
        monkeypatch.setattr("sys.argv", ["chart", str(kept)])
        chart.main()
        assert ElementTree.parse(kept.with_suffix(".svg")).getroot().tag == f"{SVG}svg"


class TestEnvironments:
    def test_one_that_is_not_there_says_how_to_get_it(self, tmp_path: Path) -> None:
        assert "--install" in str(missing(ABSENT, tmp_path))

    def test_the_projects_own_is_always_there(self, tmp_path: Path) -> None:
        assert missing(None, tmp_path) is None

    def test_one_that_would_not_install_keeps_its_reason(self, tmp_path: Path) -> None:
        (tmp_path / "absent").mkdir()
        (tmp_path / "absent" / "failed.txt").write_text("pip failed: no such package\n")
        assert missing(ABSENT, tmp_path) == "pip failed: no such package"

    def test_one_of_other_versions_is_not_used(self, tmp_path: Path) -> None:
        (tmp_path / "absent").mkdir()
        (tmp_path / "absent" / "installed.txt").write_text("torch==1.0\n")
        assert "other versions" in str(missing(ABSENT, tmp_path))

    def test_a_step_that_fails_leaves_its_reason(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        said: list[str] = []
        assert not install(ABSENT, tmp_path, said.append)
        assert missing(ABSENT, tmp_path) == "there is no command /nowhere/python"
        assert "there is no command" in said[-1]


class TestProcesses:
    def test_what_is_not_json_is_passed_over(self) -> None:
        assert lines('starting\n{"epoch": 0}\n{half\n 50%|##\n{"check": {}}\n') == [
            {"epoch": 0},
            {"check": {}},
        ]

    def job(self, tmp_path: Path) -> Job:
        return Job(
            work=str(tmp_path),
            out=str(tmp_path / "out"),
            store="",
            variant="accurate",
            decoding="accurate",
            count=3,
        )

    def test_a_failing_engine_says_its_last_line(self, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text("#!/bin/sh\necho first >&2\necho no such codec >&2\nexit 3\n")
        python.chmod(0o755)
        with pytest.raises(EngineFailedError, match="run ended with 3: no such codec"):
            call(python, "ceiling", "run", self.job(tmp_path), limit=30)

    def test_one_that_hangs_is_ended_with_all_it_started(self, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n(sleep 1; touch {tmp_path}/outlived) &\nsleep 60\n")
        python.chmod(0o755)
        with pytest.raises(EngineFailedError, match="longer than 0 s"):
            call(python, "ceiling", "run", self.job(tmp_path), limit=0.2)
        time.sleep(1.2)
        assert not (tmp_path / "outlived").exists()

    def test_an_engine_without_its_environment_is_skipped_with_the_reason(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        peer = Entry(module="ffcv", variant="jpg", title="FFCV", environment=ABSENT)
        course = Course(work=tmp_path, store=tmp_path, count=1, size=(16, 8), nbytes=1)
        done = run([peer], course, Settings(repeats=1), tmp_path)
        assert list(done.skipped) == ["ffcv-jpg"]
        assert done.rates == {}
        assert capsys.readouterr().err.startswith("skip ffcv-jpg: not installed in")

    def test_one_that_fails_in_a_later_round_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []

        def fake(
            _: Path, module: str, task: str, job: Job, *, limit: float
        ) -> list[dict[str, Any]]:
            calls.append(f"{module} {task}")
            if module == "files" and calls.count("files run") == 3:
                raise EngineFailedError("it fell over")
            epochs = [{"epoch": at, "seconds": 1.0, "samples": 5} for at in range(job.epochs + 1)]
            checked = [{"check": EQUAL}] if job.check else []
            return [{"versions": {}}, *epochs, *checked]

        monkeypatch.setattr(_rounds, "call", fake)
        course = Course(work=tmp_path, store=tmp_path, count=1, size=(16, 8), nbytes=1)
        done = run([CEILING, OURS, FILES], course, Settings(repeats=3, epochs=2), tmp_path)
        assert done.skipped == {"files-pil": "it fell over"}
        assert set(done.rates) == set(done.versions) == {"ceiling-accurate", "ours-threads"}
        assert done.rates["ours-threads"] == [[5.0, 5.0]] * 3
        assert set(done.checks) == {"ours-threads"}
        timed = [name.partition(" ")[0] for name in calls[6:]]
        assert timed[:6] == [
            "ceiling",
            "ours",
            "files",
            "files",
            "ours",
            "ceiling",
        ]  # there and back


class TestCourse:
    def test_files_references_and_store_hold_the_same(self, tmp_path: Path) -> None:
        jpegs = pictures(5)
        course = lay_out(jpegs, tmp_path)
        job = Job(work=str(tmp_path), out="", store="", variant="", decoding="accurate", count=5)
        assert [file.read_bytes() for file in job.files()] == jpegs
        with Store(course.store) as store:
            assert [store.at(row).jpeg for row in range(5)] == jpegs
        for kind, fast in (("accurate", False), ("fast", True)):
            shown = np.stack([decode(jpeg, fast_dct=fast) for jpeg in jpegs])
            np.testing.assert_array_equal(job.pixels(kind), shown)
        assert (course.count, course.size) == (5, (16, 8))

    def test_crops_of_two_sizes_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="2 sizes"):
            lay_out(pictures(1) + pictures(1, (8, 8)), tmp_path)

    def test_a_few_are_taken_from_all_over(self) -> None:
        few = spread_out([b"%d" % at for at in range(100)], 4)
        assert few == [b"0", b"33", b"66", b"99"]

    def test_the_check_sees_wrong_pixels_and_crops_that_do_not_come_once(
        self, tmp_path: Path
    ) -> None:
        lay_out(pictures(4), tmp_path)
        job = Job(work=str(tmp_path), out="", store="", variant="", decoding="accurate", count=4)
        right = np.array(job.pixels("accurate"))
        whole = check([(np.arange(4), right.transpose(0, 3, 1, 2))], job)
        assert whole == EQUAL
        wrong = right.copy()
        wrong[1, 0, 0, 0] ^= 64
        found = check([([0, 1], wrong[:2]), ([1], right[1:2])], job)
        assert (found["missing"], found["repeated"], found["largest"]) == (2, 1, 64)
        assert found["mean"] == pytest.approx(64 / (3 * right[0].size))


@pytest.mark.slow
def test_a_small_race_from_beginning_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for row, jpeg in enumerate(pictures(300)):
        (tmp_path / f"{row:04d}.jpg").write_bytes(jpeg)
    monkeypatch.setattr(loaders, "chosen", lambda _: [CEILING, OURS, TIER, FILES])
    assert loaders.main(["--crops", str(tmp_path), "--small", "--json", "--peers", "none"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["engines"]) == [entry.key for entry in (CEILING, OURS, TIER, FILES)]
    assert found["skipped"] == {}
    assert {loaders.pixels_told(found["engines"][entry.key]) for entry in (OURS, TIER, FILES)} == {
        "equal"
    }
