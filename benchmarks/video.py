"""How fast a store is built from a video, beside decoding the video alone.

    python -m benchmarks.video                 ten minutes of drawn full HD at 25 frames/s
    python -m benchmarks.video --seconds 30

14 boxes in every fifth frame, with the negatives that a build makes. The twin goes through the same
file with PyAV, by the decoder's own threads, and looks at no picture: no colours, no cutting.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.harness import interleaved, keep, seconds, spread, told
from builders import BuildSettings, ColumnRoles, Csv, build
from lmdb_reid.machine import available_cores

RATE, SIZE = 25, (1080, 1920)
EVERY, BOXES = 5, 14
BOX = (130, 52)
GOAL = 0.7
COLUMNS = "frame=frame,x=x,y=y,w=w,h=h,label=player"


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="of the video")
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    count = args.seconds * RATE
    with tempfile.TemporaryDirectory() as folder:
        video, csv = Path(folder) / "game.mp4", Path(folder) / "boxes.csv"
        _draw(video, csv, count)
        out = Path(folder) / "games.lmdb"
        source = Csv(video, csv, ColumnRoles.parse(COLUMNS), first_frame=1)
        report = build(source, out, num_workers=args.num_workers)
        assert not report.skipped, report.skipped[:3]
        assert _decode(video) == count
        runs = {
            "decode": lambda: seconds(lambda: _decode(video)),
            "build": lambda: seconds(lambda: _build(source, out, args.num_workers)),
        }
        taken = interleaved(runs, args.repeats)
        size = video.stat().st_size
    share = [alone / ours for alone, ours in zip(taken["decode"], taken["build"], strict=True)]
    print(
        f"{args.seconds} s of video, {size / args.seconds / 125_000:.1f} Mbit/s; {report.frames}"
        f" frames with boxes, {report.samples} crops, {args.num_workers} threads"
    )
    print(f"decoding alone  {told(taken['decode'])} s")
    print(f"build           {told(taken['build'])} s")
    print(f"build's speed, of decoding's alone: {told(share)} (goal {GOAL})")
    result: dict[str, Any] = {name: spread(values) for name, values in taken.items()}
    settings = {
        "seconds": args.seconds,
        "frames": report.frames,
        "crops": report.samples,
        "num_workers": args.num_workers,
        "repeats": args.repeats,
        "pyav": av.__version__,
    }
    file = keep("video", result | {"share": spread(share), "goal": GOAL} | settings)
    print(f"kept in {file}")


def _build(source: Csv, out: Path, num_workers: int) -> None:
    shutil.rmtree(out)
    build(source, out, BuildSettings(), num_workers=num_workers)


def _decode(video: Path) -> int:
    """Go through all frames; returns how many there are."""
    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return sum(1 for _ in container.decode(stream))


def _draw(video: Path, csv: Path, count: int) -> None:
    """A camera that pans over a court, with people that walk about; numbers count from 1."""
    random = np.random.default_rng(7)
    height, width = SIZE
    court = _court(random, (height, 2 * width))
    people = [
        random.integers(0, 256, (BOX[0] // 10, BOX[1] // 4, 3), np.uint8) for _ in range(BOXES)
    ]
    people = [np.kron(each, np.ones((10, 4, 1), np.uint8)) for each in people]
    places = random.uniform((0, 0), (height - BOX[0], width - BOX[1]), (BOXES, 2))
    steps = random.uniform(-3, 3, (BOXES, 2))
    lines = ["frame,x,y,w,h,player"]
    with av.open(video, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = 2 * RATE
        for at in range(count):
            left = round((1 + np.sin(at / 200)) / 2 * width)
            image = court[:, left : left + width].copy()
            places += steps
            outside = (places < 0) | (places > (height - BOX[0], width - BOX[1]))
            steps[outside] *= -1
            places = np.clip(places, 0, (height - BOX[0], width - BOX[1]))
            for who, (y, x) in enumerate(places.astype(int).tolist()):
                body = people[who]
                image[y : y + body.shape[0], x : x + body.shape[1]] = body
                if at % EVERY == 0:
                    lines.append(f"{at + 1},{x},{y},{BOX[1]},{BOX[0]},{who}")
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    csv.write_text("\n".join(lines) + "\n")


def _court(random: Any, size: tuple[int, int]) -> Any:
    """A ground with stripes and the grain of a camera, uint8 [H, W, 3]."""
    height, width = size
    stripes = 40 * (np.arange(width) // 160 % 2)[None, :, None] + np.array([60, 120, 50])
    grain = random.normal(0, 6, (height, width, 1))
    return np.clip(stripes + grain, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
