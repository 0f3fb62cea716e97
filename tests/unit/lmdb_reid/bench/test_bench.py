from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from lmdb_reid import CroppedBBoxDataset, ReIDDataset, Store, make_loader
from lmdb_reid.bench import loading, pages, transforms
from lmdb_reid.bench.advice import Findings, advise, break_even_ms
from lmdb_reid.bench.loading import Cold, Reading, Setup
from lmdb_reid.bench.timeline import _STAGES, _STEP, _WAIT, timeline
from lmdb_reid.bench.transforms import Pipeline, PipelineCost, StageCost, load_pipeline
from lmdb_reid.cli import _bench, bench
from lmdb_reid.cli.main import main
from lmdb_reid.codec import encode
from lmdb_reid.errors import MissingExtraError, StoreNotFoundError, UsageError
from lmdb_reid.loaders import Moment, Timings
from lmdb_reid.loaders._config import EngineName
from lmdb_reid.machine import available_cores
from lmdb_reid.store import StoreWriter

COUNT, HEIGHT, WIDTH = 40, 64, 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "noise.lmdb"
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    with StoreWriter(path) as writer:
        for number, image in enumerate(noise):
            writer.put(f"a#{number:03d}", encode(image), {"label": number % 4})
        writer.seal()
    return path


class Clock:
    """A time that only passes where it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(loading, "time", made)
    monkeypatch.setattr(transforms, "time", made)
    return made


# -- the page cache --------------------------------------------------------------------------------


def test_reading_in_counts_every_byte(store: Path) -> None:
    told: list[tuple[int, ...]] = []
    read = pages.read_in(store, progress=lambda *done: told.append(done))
    total = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    assert (read.bytes, read.whole) == (total, True)
    assert told[-1] == (total, total, 0)
    assert pages.held(store).bytes == total


def test_reading_in_ends_when_the_time_is_over(store: Path) -> None:
    read = pages.read_in(store, limit_s=0.0)
    assert not read.whole
    assert 0 < read.bytes < pages.held(store).bytes


def test_what_is_dropped_is_no_longer_in_memory(store: Path) -> None:
    pages.read_in(store)
    if pages.held(store).share is None:
        pytest.skip("this system does not tell what its page cache holds")
    assert pages.held(store).share == 1.0
    assert pages.drop(store)
    if pages.held(store).share == 1.0:
        pytest.skip("this file system lies in memory")
    # Nothing is left but the manifest, which is read to know the files.
    resident = pages.held(store).resident
    assert resident is not None and resident <= (store / "manifest.json").stat().st_size
    pages.read_in(store)
    assert pages.held(store).share == 1.0


def test_a_system_that_cannot_drop_says_so(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise")
    assert not pages.drop(store)
    assert loading.cold_epoch(Setup(store=store), num_workers=1, limit_s=1.0) is None


# -- passes ----------------------------------------------------------------------------------------


class Batches:
    """A loader whose batches of 10 take a known time each."""

    def __init__(self, clock: Clock, waits: list[float]) -> None:
        self.dataset = range(10 * len(waits))
        self.epoch = 3
        self.epochs_set: list[int] = []
        self._clock = clock
        self._waits = waits

    def set_epoch(self, epoch: int) -> None:
        self.epochs_set.append(epoch)

    def __iter__(self) -> Iterator[Any]:
        for wait in self._waits:
            self._clock.sleep(wait)
            yield argparse.Namespace(labels=range(10))


def test_a_pass_is_its_waits_and_its_steps(clock: Clock) -> None:
    loader: Any = Batches(clock, [0.4, 0.1, 0.1, 0.2])
    reading = loading.read(loader, num_workers=2, step_s=0.3)
    assert (reading.num_workers, reading.samples, reading.whole) == (2, 40, True)
    assert reading.seconds == pytest.approx(2.0)
    assert reading.epoch_s == pytest.approx(2.0)
    assert reading.samples_per_s == pytest.approx(20.0)
    assert reading.first_batch_ms == pytest.approx(400)
    assert reading.wait_ms_p50 == pytest.approx(150)
    assert reading.wait_share == pytest.approx(0.4)
    assert reading.step_ms == pytest.approx(300)


def test_a_pass_that_is_out_of_time_is_told_in_proportion(clock: Clock) -> None:
    loader: Any = Batches(clock, [0.5] * 8)
    reading = loading.read(loader, num_workers=1, limit_s=0.9)
    assert (reading.samples, reading.whole) == (20, False)
    assert reading.seconds == pytest.approx(1.0)
    assert reading.epoch_s == pytest.approx(4.0)


def test_leaving_a_pass_early_is_no_part_of_it(clock: Clock) -> None:
    class Slow(Batches):
        def __iter__(self) -> Iterator[Any]:
            try:
                yield from super().__iter__()
            finally:
                clock.sleep(100)

    loader: Any = Slow(clock, [0.5] * 8)
    reading = loading.read(loader, num_workers=1, limit_s=0.9)
    assert (reading.seconds, reading.samples_per_s) == (pytest.approx(1.0), pytest.approx(20.0))
    assert reading.wait_share == pytest.approx(1.0)


def test_each_pass_begins_at_the_start_of_an_epoch(store: Path) -> None:
    with Store(store) as opened, make_loader(ReIDDataset(opened), 10, num_workers=1) as loader:
        assert loading.read(loader, num_workers=1, limit_s=0.0).samples == 10
        assert loading.read(loader, num_workers=1).samples == COUNT


@pytest.mark.parametrize("engine", ["threads", "dataloader"])
def test_warm_and_cold_epochs_are_whole_where_there_is_time(store: Path, engine: str) -> None:
    setup = Setup(store=store, batch_size=16, engine=engine, size=(32, 16))
    warm = loading.warm_epoch(setup, num_workers=1, limit_s=60.0)
    assert (warm.samples, warm.whole, warm.num_workers) == (COUNT, True, 1)
    assert warm.samples_per_s == pytest.approx(COUNT / warm.seconds)
    cold = loading.cold_epoch(setup, num_workers=1, limit_s=60.0)
    assert cold is not None
    assert cold.reading.whole


def test_a_cold_epoch_begins_with_nothing_in_memory(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(store) as opened:
        opened.at(0)  # was open before, as the command itself has it
    del opened
    pages.read_in(store)
    cold = loading.cold_epoch(Setup(store=store), num_workers=1, limit_s=60.0)
    assert cold is not None
    if cold.resident_share in (None, 1.0):
        pytest.skip("this file system lies in memory, or does not tell")
    assert cold.is_cold


def test_of_whole_passes_the_median_is_kept(
    store: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter([(30.0, True), (10.0, True), (20.0, True), (99.0, True)])

    def read(loader: object, **_: object) -> Reading:
        rate, whole = next(taken)
        return reading(samples_per_s=rate, whole=whole)

    monkeypatch.setattr(loading, "read", read)
    assert loading.warm_epoch(Setup(store=store), num_workers=1, limit_s=9.0).samples_per_s == 20.0
    taken = iter([(30.0, True), (90.0, False), (80.0, False)])
    assert loading.warm_epoch(Setup(store=store), num_workers=1, limit_s=9.0).samples_per_s == 30.0


def test_usual_workers_end_with_all_cores() -> None:
    counts = loading.usual_workers()
    assert counts == sorted(set(counts))
    assert counts[0] == 1
    assert counts[-1] == available_cores()


# -- pipelines -------------------------------------------------------------------------------------


def flip(image: torch.Tensor) -> torch.Tensor:
    return image.flip(-1)


def darken(image: torch.Tensor) -> torch.Tensor:
    return image // 2


class Noise:
    """Takes a generator, as reproducible transforms do."""

    def __init__(self, most: int = 2) -> None:
        self.most = most

    def __call__(self, image: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
        return torch.randint(self.most, image.shape, generator=generator)


class Compose:
    def __init__(self, stages: list[Any]) -> None:
        self.transforms = stages

    def __call__(self, image: Any) -> Any:
        raise AssertionError("its parts are called one by one")


class RandomApply(Compose):
    """One that chooses: its parts are not all called."""


@pytest.fixture
def user_code(monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module of transforms, by name."""
    module = ModuleType("users_transforms")
    module.flip = flip  # type: ignore[attr-defined]
    module.both = [flip, darken]  # type: ignore[attr-defined]
    module.train = Compose([flip, darken])  # type: ignore[attr-defined]
    module.make = lambda: (darken, flip)  # type: ignore[attr-defined]
    module.Noise = Noise  # type: ignore[attr-defined]
    module.sometimes = RandomApply([flip])  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("flip", [flip]),
        ("both", [flip, darken]),
        ("train", [flip, darken]),
        ("make()", [darken, flip]),
    ],
)
def test_a_pipeline_by_its_import_path(user_code: str, name: str, stages: list[Any]) -> None:
    assert load_pipeline(f"{user_code}:{name}") == stages
    assert load_pipeline(f"{user_code}.{name}") == stages


def test_a_class_is_called_without_arguments(user_code: str) -> None:
    (stage,) = load_pipeline(f"{user_code}:Noise")
    assert isinstance(stage, Noise)


def test_what_chooses_among_its_parts_stays_whole(user_code: str) -> None:
    (stage,) = load_pipeline(f"{user_code}:sometimes")
    assert isinstance(stage, RandomApply)


def test_a_module_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_alone.py").write_text("def half(image):\n    return image // 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (stage,) = load_pipeline("mine_alone:half")
    assert stage(torch.tensor(6)) == 3
    assert sys.path[-1] == str(tmp_path)  # last: it hides nothing


def test_a_pipeline_from_json(user_code: str, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.json"
    entry = {"class_path": f"{user_code}.Noise", "init_args": {"most": 7}}
    file.write_text(json.dumps([entry, {"class_path": f"{user_code}.Noise"}]))
    assert [stage.most for stage in load_pipeline(str(file))] == [7, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("flip", "package.module:name"),
        ("users_transforms:nothing", "cannot be imported"),
        ("no_such_module_here:flip", "cannot be imported"),
        ("users_transforms:number", "3 cannot be called"),
        ("nowhere.json", "cannot be read"),
    ],
)
def test_what_is_no_pipeline(user_code: str, spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_pipeline(spec)


@pytest.mark.parametrize("text", ["{}", "[]", '["flip"]', "no json"])
def test_json_that_is_no_pipeline(tmp_path: Path, text: str) -> None:
    (tmp_path / "pipeline.json").write_text(text)
    with pytest.raises(UsageError):
        load_pipeline(str(tmp_path / "pipeline.json"))


def test_stages_follow_each_other() -> None:
    image = torch.arange(24, dtype=torch.uint8).reshape(3, 2, 4)
    assert torch.equal(Pipeline([flip, darken])(image), image.flip(-1) // 2)
    noise = Pipeline([flip, Noise()])
    torch.manual_seed(0)
    first, second = noise(image), noise(image)
    torch.manual_seed(0)
    assert torch.equal(noise(image), first)
    assert not torch.equal(first, second)


def test_a_pil_pipeline_is_given_what_cropped_files_give(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "crop.png")
    expected, _ = CroppedBBoxDataset([tmp_path / "crop.png"], [0], transform=Image.Image.copy)[0]
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    assert Pipeline([Image.Image.copy], pil=True)(image) == expected


def test_each_stage_costs_its_own_time(store: Path, clock: Clock) -> None:
    def takes(seconds: float) -> Callable[[Any], Any]:
        def stage(image: Any) -> Any:
            clock.sleep(seconds)
            return image

        return stage

    slow, fast = takes(0.003), takes(0.001)
    slow.__name__, fast.__name__ = "slow", "fast"
    cost = transforms.pipeline_cost(store, Pipeline([fast, slow, fast]), limit_s=60.0)
    assert cost.images == 4 * COUNT
    assert [stage.name for stage in cost.stages] == ["fast", "slow", "fast"]
    assert [stage.ms for stage in cost.stages] == pytest.approx([1, 3, 1])
    assert [stage.share for stage in cost.stages] == pytest.approx([0.2, 0.6, 0.2])
    assert cost.total_ms == pytest.approx(5)


def test_timing_ends_when_the_time_is_over_and_leaves_torch_as_it_was(
    store: Path, clock: Clock
) -> None:
    seen: list[tuple[Any, int]] = []

    def stage(image: torch.Tensor) -> torch.Tensor:
        clock.sleep(1.0)
        seen.append((image.shape, torch.get_num_threads()))
        return image

    threads = torch.get_num_threads()
    cost = transforms.pipeline_cost(store, Pipeline([stage]), size=(16, 8), limit_s=2.5)
    assert cost.images == 3
    assert set(seen) == {((3, 16, 8), 1)}
    assert torch.get_num_threads() == threads


def test_a_transform_that_raises_is_named(store: Path) -> None:
    def wants_pil(image: Any) -> Any:
        return image.resize((4, 4))

    pipeline = Pipeline([flip, wants_pil])
    with pytest.raises(UsageError, match=r"wants_pil raised .*uint8 tensor.*--pil.*Tensor"):
        transforms.pipeline_cost(store, pipeline, limit_s=1.0)


# -- advice ----------------------------------------------------------------------------------------


def reading(**fields: Any) -> Reading:
    usual = Reading(
        num_workers=2,
        samples=1000,
        whole=True,
        seconds=1.0,
        epoch_s=1.0,
        samples_per_s=1000.0,
        first_batch_ms=10.0,
        wait_ms_p50=100.0,
        wait_ms_p99=120.0,
        wait_share=0.9,
        step_ms=0.0,
    )
    return replace(usual, **fields)


DECODING_IS_THE_LIMIT = Findings(
    store="games.lmdb",
    samples=1000,
    store_bytes=10**7,
    decoded_bytes=10**8,
    free_bytes=10**9,
    cores=2,
    batch_size=100,
    engine="threads",
    cold=Cold(reading=reading(epoch_s=1.2), resident_share=0.0),
    warm=(reading(num_workers=1, samples_per_s=600.0), reading(num_workers=2)),
    step=None,
    pipeline=None,
)

CHEAP = PipelineCost(
    images=9, decode_ms=0.2, total_ms=0.1, stages=(StageCost(name="Flip", ms=0.1, share=1.0),)
)
DEAR = PipelineCost(
    images=9,
    decode_ms=0.2,
    total_ms=2.1,
    stages=(
        StageCost(name="Flip", ms=0.1, share=0.05),
        StageCost(name="RandomPerspective", ms=2.0, share=0.95),
    ),
)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "lmdb-reid warm games.lmdb --decoded"),
        ({"pipeline": CHEAP}, "cache=DecodedTier(store)"),
        ({"free_bytes": 11 * 10**7}, "fast_dct=True"),
        ({"free_bytes": None}, "--size"),
        ({"pipeline": DEAR}, "RandomPerspective takes 2.00 ms an image, decoding 0.20"),
        ({"cores": 8}, "set num_workers=4: 2 do not yet saturate"),
        ({"cores": 3}, "set num_workers=3: 2 do not"),
        ({"cold": Cold(reading=reading(epoch_s=9.0), resident_share=0.0)}, "warm games.lmdb`"),
        (
            {"step": reading(step_ms=500.0, wait_share=0.01, wait_ms_p50=0.3)},
            "nothing to change: a step of 500 ms waits 0.3 ms for its batch with num_workers=2, and"
            " num_workers=1 would do",
        ),
        ({"step": reading(step_ms=50.0, wait_share=0.4)}, "--decoded"),
    ],
)
def test_advice_names_the_setting_to_change(fields: dict[str, Any], said: str) -> None:
    advice = advise(replace(DECODING_IS_THE_LIMIT, **fields))
    assert said in advice
    assert "\n" not in advice


def test_fewer_workers_are_advised_only_if_they_keep_up() -> None:
    step = reading(step_ms=160.0, wait_share=0.01)  # takes 625 samples/s; one worker makes 600
    assert "would do" not in advise(replace(DECODING_IS_THE_LIMIT, step=step))


def test_more_workers_are_advised_only_if_they_help() -> None:
    warm = (reading(num_workers=1, samples_per_s=950.0), reading(num_workers=2))
    assert "num_workers" not in advise(replace(DECODING_IS_THE_LIMIT, cores=8, warm=warm))


def test_a_batch_at_the_loaders_own_rate_is_the_step_that_it_just_hides() -> None:
    assert break_even_ms(reading(samples_per_s=2000.0), 100) == pytest.approx(50.0)


# -- the command -----------------------------------------------------------------------------------


def parsed(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.configure(parser)
    return parser.parse_args([str(word) for word in words])


def test_the_command_prints_its_tables_and_one_advice(
    store: Path, user_code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--num-workers", "2,1", "--batch-size", "8", "--seconds", "3", "--step-ms", "1"]
    assert bench.run(parsed(store, *words, "--transform", f"{user_code}:both")) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [line.split() for line in lines if line.strip()]
    assert starts[0][:3] == [f"{store}:", "40", "samples,"]
    assert [words[:2] for words in starts if words[0] in ("cold", "warm")] == [
        ["cold", "2"],
        ["warm", "1"],
        ["warm", "2"],
    ]
    assert [
        words[0] for words in starts if words[0] in ("flip", "darken", "all", "(decoding)")
    ] == [
        "flip",
        "darken",
        "all",
        "(decoding)",
    ]
    assert [words[0] for words in starts].count("advice:") == 1
    assert lines[-1].startswith("advice: ")


@pytest.mark.parametrize(
    ("transform", "told"),
    [
        (lambda image: image.save, "pil|PIL"),
        (lambda image: image.flip(0), "cannot be sent to worker processes"),
    ],
)
def test_a_pipeline_that_cannot_work_is_told_before_anything_is_measured(
    store: Path, monkeypatch: pytest.MonkeyPatch, transform: Any, told: str
) -> None:
    monkeypatch.setattr(_bench, "load_pipeline", lambda spec: [transform])
    monkeypatch.setattr(_bench, "_measured", lambda *_: pytest.fail("it measured"))
    with pytest.raises(UsageError, match=told):
        bench.run(parsed(store, "--transform", "my:own", "--seconds", "1"))


def test_json_has_all_that_was_measured(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--num-workers", "1", "--seconds", "1", "--no-cold", "--size", "32x16", "--json"]
    assert bench.run(parsed(store, *words)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cold"] is None
    assert told["step"] is None
    assert told["pipeline"] is None
    assert (told["samples"], told["decoded_bytes"]) == (COUNT, COUNT * 32 * 16 * 3)
    (warm,) = told["warm"]
    assert (warm["num_workers"], warm["samples"], warm["whole"]) == (1, COUNT, True)
    assert told["break_even_ms"] == [pytest.approx(1e3 * 256 / warm["samples_per_s"])]
    assert told["advice"]


@pytest.mark.parametrize("engine", ["threads", "processes", "dataloader"])
def test_a_timeline_is_drawn(store: Path, tmp_path: Path, engine: str) -> None:
    out = tmp_path / "epoch.png"
    words = [
        "--num-workers",
        "1",
        "--seconds",
        "2",
        "--no-cold",
        "--batch-size",
        "8",
        "--step-ms",
        "5",
    ]
    assert bench.run(parsed(store, *words, "--engine", engine, "--plot", out)) == 0
    drawn = np.asarray(Image.open(out).convert("RGB"))
    waiting, step, decode = (to_rgb(c) for c in (_WAIT, _STEP, _STAGES["decode"]))
    for colour in (waiting, step, decode):
        # Once in the legend, and in its own chart.
        assert (drawn == colour).all(2).any(1).sum() > 20


def to_rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


@pytest.mark.parametrize(
    ("name", "head"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("a.JPG", b"\xff\xd8")]
)
def test_a_timeline_in_other_formats(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, head: bytes
) -> None:
    moments = [Moment(asked=0.0, got=0.5, samples=8, ready=1, timings=Timings(decode=0.02))]
    monkeypatch.setattr(loading, "watched_epoch", lambda *_, **__: moments)
    found = replace(DECODING_IS_THE_LIMIT, warm=(reading(),))
    setup, args = Setup(store=store), parsed(store, "--plot", tmp_path / name)
    _bench._plot(setup, found, args)
    assert (tmp_path / name).read_bytes().startswith(head)


def epoch(ready: int | None = 1, step: float = 0.5) -> list[Moment]:
    """Three batches of 8, half a second of waiting for each."""
    timings = [Timings(gather=0.01), Timings(decode=0.02), Timings(transform=0.03)]
    return [
        Moment(
            asked=at * (0.5 + step), got=at * (0.5 + step) + 0.5, samples=8, ready=ready, timings=of
        )
        for at, of in enumerate(timings)
    ]


def test_a_timeline_shows_who_took_what() -> None:
    figure = timeline(epoch(), "three $\\frac{$ batches\u202e")
    consumer, ready, workers = figure.axes
    assert consumer.get_title("left") == "10 samples/s, waiting 60%"
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in workers.containers}
    assert heights == {
        "gather": pytest.approx([10, 0, 0]),
        "decode": pytest.approx([0, 20, 0]),
        "transform": pytest.approx([0, 0, 30]),
    }
    assert ready.patches[0].get_data().values.tolist() == [1, 1, 1]
    names = {text.get_text() for text in consumer.get_legend().get_texts()}
    assert names == {"waiting", "step"}
    assert "\u202e" not in figure.get_suptitle()
    figure.savefig(io.BytesIO(), format="png")  # no formula is read in the title


def test_a_consumer_that_only_reads_alarms_nobody() -> None:
    consumer, ready, _ = timeline(epoch(ready=None, step=0.0), "reading alone").axes
    (text,) = consumer.get_legend().get_texts()
    assert text.get_text() == "waiting (its step does nothing)"
    assert to_rgb(_WAIT) not in {
        tuple(int(255 * c) for c in bars.get_facecolor()[0][:3]) for bars in consumer.collections
    }
    assert [text.get_text() for text in ready.texts] == ["not known with this engine"]


def test_a_timeline_without_matplotlib_is_refused_before_anything_is_measured(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(_bench, "_measured", lambda *_: pytest.fail("it measured"))
    with pytest.raises(MissingExtraError, match=r"--plot needs matplotlib.*lmdb_reid\[plot\]"):
        bench.run(parsed(store, "--plot", "epoch.png"))
    with pytest.raises(MissingExtraError, match=r"lmdb_reid\[plot\]"):
        timeline(epoch(), "three batches")


def test_no_timeline_of_nothing() -> None:
    with pytest.raises(UsageError, match="at least one batch"):
        timeline([], "nothing")


def test_it_takes_about_as_long_as_it_may(store: Path) -> None:
    limits: list[float] = []

    def passes(*_: object, limit_s: float, **__: object) -> Reading:
        limits.append(limit_s)
        return reading()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "warm_epoch", passes)
        patch.setattr(loading, "cold_epoch", lambda *_, limit_s, **__: limits.append(limit_s))
        bench.run(parsed(store, "--num-workers", "1,2,3", "--seconds", "12", "--step-ms", "5"))
    assert len(limits) == 5
    assert sum(limits) == pytest.approx(10.0)  # the rest is for starting workers


@pytest.mark.parametrize(
    "words",
    [
        ["--batch-size", "0"],
        ["--seconds", "0"],
        ["--step-ms", "-1"],
        ["--pil"],
        ["--size", "256"],
        ["--plot", "epoch.gif"],
        ["--plot", "nowhere/epoch.png"],
    ],
)
def test_wrong_use(store: Path, words: list[str]) -> None:
    with pytest.raises(UsageError):
        bench.run(parsed(store, "--seconds", "1", *words))


@pytest.mark.parametrize("num_workers", ["one", "1,,2", "-1", ""])
def test_workers_are_numbers(store: Path, num_workers: str) -> None:
    with pytest.raises(SystemExit):
        parsed(store, f"--num-workers={num_workers}")


def test_an_engine_is_checked_before_anything_is_measured(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(store), "--engine", "thread"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(
        "lmdb-reid bench: error: --engine must be one of auto, threads, processes, dataloader, got"
        " 'thread'\ntip: a similar value exists: threads. "
    )
    assert shown.out == ""


def test_the_engines_are_those_of_make_loader() -> None:
    assert get_args(EngineName) == bench.ENGINES


def test_its_help_needs_no_torch(run_python: Callable[..., str]) -> None:
    script = "import sys; sys.modules['torch'] = None; from lmdb_reid.cli.main import main"
    shown = run_python(f"{script}; main(['bench', '--help'])")
    assert "--step-ms MS" in shown and "example:" in shown


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        bench.run(parsed(tmp_path))


def test_a_store_that_stays_in_memory_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Cold(reading=reading(), resident_share=0.62)
    told = "\n".join(_bench.lines(replace(DECODING_IS_THE_LIMIT, cold=kept)))
    assert "not cold: 62% of the store stayed in memory" in told
    assert "not cold" not in "\n".join(_bench.lines(DECODING_IS_THE_LIMIT))
