from __future__ import annotations

import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import training
from builders.cutting import cut
from lmdb_reid.errors import ImageError, ResourceError, SourceError, SourceNotFoundError
from lmdb_reid.schema import Box
from training import BoxSample, PlayerReIDDataset

HEIGHT, WIDTH = 90, 160

Save = Callable[..., BoxSample]


@pytest.fixture
def frame() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def sample(tmp_path: Path, frame: npt.NDArray[np.uint8]) -> BoxSample:
    """A box inside a frame that is stored without loss."""
    Image.fromarray(frame).save(tmp_path / "frame.png")
    return BoxSample(
        quarter="Q1-000",
        angle="side",
        session=0,
        frame=1,
        x=40,
        y=20,
        w=31,
        h=45,
        label_id=7,
        img_path=str(tmp_path / "frame.png"),
    )


@pytest.mark.parametrize("expand", [1.0, 1.2, 3.0])
@pytest.mark.parametrize(
    "box",
    [
        (40, 20, 31, 45),
        (-5, -7, 30, 30),
        (WIDTH - 10, HEIGHT - 12, 40, 40),
        (0, 0, WIDTH, HEIGHT),
        (10.5, 3.25, 7.5, 0.25),
    ],
)
def test_a_crop_has_the_pixels_that_the_builder_cuts(
    sample: BoxSample,
    frame: npt.NDArray[np.uint8],
    box: tuple[float, float, float, float],
    expand: float,
) -> None:
    x, y, w, h = box
    dataset = PlayerReIDDataset([replace(sample, x=x, y=y, w=w, h=h)], expand_ratio=expand)
    image, label = dataset[0]
    expected = cut(frame, Box(*box), expand=expand)
    assert expected is not None
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected)
    assert label.dtype == torch.long
    assert label.shape == ()
    assert label == 7


def test_boxes_are_not_grown_unless_told(sample: BoxSample) -> None:
    assert PlayerReIDDataset([sample])[0][0].shape == (3, 45, 31)


def test_the_transform_receives_the_crop_as_a_pil_image(sample: BoxSample) -> None:
    def transform(crop: Image.Image) -> str:
        assert isinstance(crop, Image.Image)
        return f"{crop.mode} {crop.size}"

    assert PlayerReIDDataset([sample], transform)[0][0] == "RGB (31, 45)"


def test_a_frame_is_turned_as_the_builder_turns_it(
    sample: BoxSample, frame: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    lying = Image.fromarray(np.rot90(frame, 1))  # 90 degrees against the clock
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees with the clock
    lying.save(tmp_path / "turned.png", exif=exif)
    turned = PlayerReIDDataset([replace(sample, img_path=tmp_path / "turned.png")])
    assert torch.equal(turned[0][0], PlayerReIDDataset([sample])[0][0])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_modes_become_rgb(sample: BoxSample, tmp_path: Path, mode: str) -> None:
    red = Image.new("RGB", (WIDTH, HEIGHT), (255, 0, 0)).convert(mode)
    path = tmp_path / "frame.tiff"
    red.save(path)
    image, _ = PlayerReIDDataset([replace(sample, img_path=path)])[0]
    expected = (76, 76, 76) if mode == "L" else (255, 0, 0)
    assert image[:, 0, 0].tolist() == pytest.approx(expected, abs=1)


def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The files that PIL opens from now on."""
    files: list[Any] = []
    really_open = Image.open

    def noted(path: Any) -> Image.Image:
        files.append(path)
        return really_open(path)

    monkeypatch.setattr(Image, "open", noted)
    return files


def test_without_cache_each_item_opens_its_frame(
    sample: BoxSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(monkeypatch)
    dataset = PlayerReIDDataset([sample, replace(sample, x=50)], use_cache=False)
    for index in (0, 1, 0, 1):
        dataset[index]
    assert files == [sample.img_path] * 4


def test_the_cache_keeps_crops_by_index(sample: BoxSample, monkeypatch: pytest.MonkeyPatch) -> None:
    files = opened(monkeypatch)
    dataset = PlayerReIDDataset([sample, replace(sample, x=50)])
    first, second = dataset[0][0], dataset[1][0]
    assert torch.equal(dataset[0][0], first)
    assert torch.equal(dataset[-1][0], second)  # the same item as 1
    assert not torch.equal(first, second)
    assert len(files) == 2


def test_what_a_transform_draws_does_not_reach_the_cache(sample: BoxSample) -> None:
    def blacken(crop: Image.Image) -> torch.Tensor:
        seen = torch.from_numpy(np.array(crop))
        crop.paste((0, 0, 0), (0, 0, *crop.size))
        return seen

    dataset = PlayerReIDDataset([sample], blacken)
    first, again = dataset[0][0], dataset[0][0]
    assert first.any()
    assert torch.equal(first, again)


def test_a_pickle_leaves_the_cache_behind(
    sample: BoxSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = PlayerReIDDataset([sample])
    cold = len(pickle.dumps(dataset))
    dataset[0]
    assert len(pickle.dumps(dataset)) == cold
    copy = pickle.loads(pickle.dumps(dataset))
    files = opened(monkeypatch)
    assert torch.equal(copy[0][0], dataset[0][0])
    assert files == [sample.img_path]  # the copy's; the original had it


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stock_loader_reads_it(sample: BoxSample, num_workers: int) -> None:
    samples = [replace(sample, x=10 * i, label_id=i) for i in range(6)]
    loader = DataLoader(PlayerReIDDataset(samples), batch_size=4, num_workers=num_workers)
    batches = list(loader)
    assert [tuple(images.shape) for images, _ in batches] == [(4, 3, 45, 31), (2, 3, 45, 31)]
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 2, 3, 4, 5]


def test_any_object_with_these_attributes_is_a_sample(sample: BoxSample) -> None:
    class Row:
        x, y, w, h, label_id, img_path = 40.0, 20.0, 31.0, 45.0, -1, Path(sample.img_path)

    image, label = PlayerReIDDataset([Row()])[0]  # type: ignore[list-item]
    assert torch.equal(image, PlayerReIDDataset([sample])[0][0])
    assert label == -1


@pytest.mark.parametrize("index", [1, -2, 99])
def test_no_such_item(sample: BoxSample, index: int) -> None:
    with pytest.raises(IndexError):
        PlayerReIDDataset([sample])[index]


def test_a_missing_frame(sample: BoxSample, tmp_path: Path) -> None:
    missing = replace(sample, img_path=tmp_path / "nowhere.jpg")
    with pytest.raises(SourceNotFoundError, match=r"nowhere\.jpg"):
        PlayerReIDDataset([missing])[0]


@pytest.mark.parametrize("keep", [0, 10, 2000], ids=["empty", "no header", "cut short"])
def test_a_damaged_frame(
    sample: BoxSample, frame: npt.NDArray[np.uint8], tmp_path: Path, keep: int
) -> None:
    whole, path = tmp_path / "whole.jpg", tmp_path / "damaged.jpg"
    Image.fromarray(frame).save(whole)
    path.write_bytes(whole.read_bytes()[:keep])
    dataset = PlayerReIDDataset([replace(sample, img_path=path)])
    for _ in range(2):
        with pytest.raises(ImageError, match=r"damaged\.jpg"):
            dataset[0]


def test_a_frame_of_too_many_pixels(sample: BoxSample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="cannot be decoded"):
        PlayerReIDDataset([sample])[0]


@pytest.mark.parametrize("box", [(WIDTH, 0, 10, 10), (-10, 0, 10, 10), (0, -50, 20, 20)])
def test_a_box_outside_its_frame(sample: BoxSample, box: tuple[int, int, int, int]) -> None:
    x, y, w, h = box
    outside = replace(sample, x=x, y=y, w=w, h=h)
    with pytest.raises(SourceError, match=r"outside the 160x90 frame .*frame\.png"):
        PlayerReIDDataset([outside], expand_ratio=10.0)[0]


def test_files_are_closed(sample: BoxSample, monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[Any] = []
    really_open = Image.open

    def kept(path: Any) -> Image.Image:
        images.append(really_open(path))
        return images[-1]

    monkeypatch.setattr(Image, "open", kept)
    PlayerReIDDataset([sample])[0]
    (image,) = images
    assert image.fp is None


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, training; print('torch' in sys.modules, sorted(training.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"False {training.__all__}\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = training.nothing


def test_without_torch_a_name_tells_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; from training import PlayerReIDDataset"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        "MissingExtraError: PlayerReIDDataset needs torch, which is not installed:"
        ' pip install "lmdb_reid[torch]"'
    )


def test_a_process_that_may_open_no_more_files_is_told_how_to_allow_more(sample: BoxSample) -> None:
    crops = PlayerReIDDataset([sample])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(ResourceError, match="ulimit -n") as caught:
            crops[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.path == str(sample.img_path)
