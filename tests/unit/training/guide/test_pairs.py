from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lmdb_reid.errors import SourceNotFoundError, UsageError
from training.guide import MultiViewPlayerReIDDataset, view_pairs
from training.guide._dataset import BoxSample, PlayerReIDDataset

MakeSample = Callable[..., BoxSample]


@pytest.fixture
def make_sample(tmp_path: Path) -> MakeSample:
    """A sample in a frame of noise that differs between the angles."""
    for seed, angle in enumerate(("side", "top")):
        noise = np.random.default_rng(seed).integers(0, 256, (90, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{angle}.png")

    def sample(angle: str, label: int = 3, **fields: object) -> BoxSample:
        usual = BoxSample(
            quarter="Q1-000",
            angle=angle,
            session=0,
            frame=1,
            x=40,
            y=20,
            w=30,
            h=44,
            label_id=label,
            img_path=str(tmp_path / f"{angle}.png"),
        )
        return replace(usual, **fields)  # type: ignore[arg-type]

    return sample


def test_a_pair_is_one_player_at_one_moment(make_sample: MakeSample) -> None:
    samples = [
        make_sample(angle, label, quarter=quarter, session=session, frame=frame)
        for quarter, session, frame, label, angle in itertools.product(
            ("Q1-000", "Q2-000"), (0, 1), (1, 2), (0, 5), ("top", "side")
        )
    ]
    pairs = view_pairs(samples)
    assert len(pairs) == 16
    for side, top in pairs:
        assert (side.angle, top.angle) == ("side", "top")
        assert replace(side, angle="top", img_path=top.img_path) == top
    assert [side for side, _ in pairs] == [s for s in samples if s.angle == "side"]


@pytest.mark.parametrize(
    "fields", [{"quarter": "Q1-001"}, {"session": 1}, {"frame": 2}, {"label": 4}]
)
def test_what_has_no_counterpart_is_in_no_pair(
    make_sample: MakeSample, fields: dict[str, object]
) -> None:
    assert view_pairs([make_sample("side"), make_sample("top", **fields)]) == []


def test_unknown_players_are_no_pair(make_sample: MakeSample) -> None:
    assert view_pairs([make_sample("side", -1), make_sample("top", -1)]) == []


def test_a_label_twice_in_a_view_makes_two_pairs(make_sample: MakeSample) -> None:
    tops = [make_sample("top", x=40), make_sample("top", x=80)]
    pairs = view_pairs([make_sample("side"), *tops])
    assert [top.x for _, top in pairs] == [40, 80]


def test_an_item_is_both_crops_and_the_label(make_sample: MakeSample) -> None:
    side, top = make_sample("side"), make_sample("top", w=20)
    dataset = MultiViewPlayerReIDDataset([(side, top)], expand_ratio=1.2)
    assert len(dataset) == 1
    side_image, top_image, label = dataset[0]
    alone = PlayerReIDDataset([side, top], expand_ratio=1.2)
    assert torch.equal(side_image, alone[0][0])
    assert torch.equal(top_image, alone[1][0])
    assert label.dtype == torch.long
    assert label.shape == ()
    assert label == 3


def test_boxes_are_not_grown_unless_told(make_sample: MakeSample) -> None:
    side, top, _ = MultiViewPlayerReIDDataset([(make_sample("side"), make_sample("top"))])[0]
    assert side.shape == top.shape == (3, 44, 30)


def test_each_view_goes_through_the_transform_by_itself(make_sample: MakeSample) -> None:
    seen: list[Image.Image] = []

    def transform(crop: Image.Image) -> int:
        seen.append(crop)
        return len(seen)

    pair = make_sample("side"), make_sample("top")
    assert MultiViewPlayerReIDDataset([pair], transform)[0][:2] == (1, 2)
    assert [(crop.mode, crop.size) for crop in seen] == [("RGB", (30, 44))] * 2
    assert seen[0].tobytes() != seen[1].tobytes()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stock_loader_reads_it(make_sample: MakeSample, num_workers: int) -> None:
    samples = [make_sample(angle, label) for label in range(5) for angle in ("side", "top")]
    dataset = MultiViewPlayerReIDDataset(view_pairs(samples))
    batches = list(DataLoader(dataset, batch_size=3, num_workers=num_workers))
    assert [tuple(side.shape) for side, _, _ in batches] == [(3, 3, 44, 30), (2, 3, 44, 30)]
    assert torch.cat([labels for _, _, labels in batches]).tolist() == [0, 1, 2, 3, 4]


def test_a_pair_of_two_players_is_refused(make_sample: MakeSample) -> None:
    good = make_sample("side"), make_sample("top")
    with pytest.raises(UsageError, match="pair 1 is of labels 3 and 8"):
        MultiViewPlayerReIDDataset([good, (make_sample("side"), make_sample("top", 8))])


def test_a_missing_frame_is_named(make_sample: MakeSample, tmp_path: Path) -> None:
    top = make_sample("top", img_path=tmp_path / "nowhere.jpg")
    dataset = MultiViewPlayerReIDDataset([(make_sample("side"), top)])
    with pytest.raises(SourceNotFoundError, match=r"nowhere\.jpg"):
        dataset[0]


def test_no_such_pair(make_sample: MakeSample) -> None:
    dataset = MultiViewPlayerReIDDataset([(make_sample("side"), make_sample("top"))])
    with pytest.raises(IndexError):
        dataset[1]
