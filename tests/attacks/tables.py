"""Hostile csv files and annotations, read as a build reads them before it cuts anything."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path

from _using import check_printed, picture
from manifests import ESCAPE

from builders import AtmaCup, Coco, ColumnRoles, Csv, plan
from lmdb_reid._visible import visible

HEAD = "quarter,angle,session,frame,x,y,w,h,label_id"
ROW = "Q1-000,side,1,1,2,2,8,20,3"
FRAME = "Q1-000__side__01__01.jpg"


def _frames(folder: Path) -> Path:
    images = folder / "images"
    images.mkdir()
    (images / FRAME).write_bytes(picture(1, (64, 64)))
    return images


def _atmacup(text: str | bytes, folder: Path) -> None:
    images = _frames(folder)
    file = folder / "train_meta.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    report = plan(AtmaCup(file, images), folder / "out.lmdb", num_workers=1)
    check_printed("\n".join(map(visible, report.lines())))


def _csv(text: str, folder: Path) -> None:
    images = _frames(folder)
    (folder / "boxes.csv").write_text(text, newline="")
    columns = {name: name for name in ("image", "x", "y", "w", "h", "label")}
    report = plan(
        Csv(images, folder / "boxes.csv", ColumnRoles(columns)), folder / "out.lmdb", num_workers=1
    )
    check_printed("\n".join(map(visible, report.lines())))


def _coco(text: str, folder: Path) -> None:
    images = _frames(folder)
    file = folder / "annotations.json"
    file.write_text(text)
    plan(Coco(images, file), folder / "out.lmdb", num_workers=1)


def _file(make: Callable[[Path], object], folder: Path) -> None:
    images = _frames(folder)
    make(folder / "train_meta.csv")
    plan(AtmaCup(folder / "train_meta.csv", images), folder / "out.lmdb", num_workers=1)


def _table(*rows: str, head: str = HEAD) -> str:
    return "\n".join((head, *rows)) + "\n"


TABLES: dict[str, str | bytes] = {
    "nothing": "",
    "a header alone": HEAD + "\n",
    "no header": ROW + "\n",
    "zeros": bytes(1000),
    "utf-16": _table(ROW).encode("utf-16"),
    "not utf-8": b"\xff\xfe" + _table(ROW).encode(),
    "100,000 columns": ",".join([HEAD, *map(str, range(100_000))]) + "\n" + ROW + "\n",
    "100,000 columns of one name": ",".join([HEAD, *["x"] * 100_000]) + "\n" + ROW + "\n",
    "a name of 10 MB": HEAD + "," + "x" * 10_000_000 + "\n" + ROW + ",1\n",
    "a cell of 2 MB": _table("x" * 2_000_000 + ROW),
    "a quote that never ends": _table('"' + ROW, *[ROW] * 1000),
    "quotes in quotes": _table('"Q""1"",side",1,1,2,2,8,20,3,4'),
    "rows of too few cells": _table("Q1-000,side"),
    "rows of too many": _table(ROW + ",1,2,3"),
    "zeros in a cell": _table("Q1\0-000,side,1,1,2,2,8,20,3"),
    "carriage returns alone": _table(ROW).replace("\n", "\r"),
    "boxes of NaN": _table("Q1-000,side,1,1,nan,2,8,20,3"),
    "boxes of infinity": _table("Q1-000,side,1,1,inf,-inf,8,20,3"),
    "boxes of 1e308": _table("Q1-000,side,1,1,1e308,1e308,1e308,1e308,3"),
    "boxes of 10^400": _table(f"Q1-000,side,1,1,{'9' * 400},2,8,20,3"),
    "boxes below zero": _table("Q1-000,side,1,1,-50,-50,-8,-20,3"),
    "boxes in hexadecimal": _table("Q1-000,side,1,1,0x10,2,8,20,3"),
    "labels of 2^63": _table(f"Q1-000,side,1,1,2,2,8,20,{1 << 63}"),
    "labels of -7": _table("Q1-000,side,1,1,2,2,8,20,-7"),
    "labels in letters": _table("Q1-000,side,1,1,2,2,8,20,somebody"),
    "a frame of -1": _table("Q1-000,side,-1,-1,2,2,8,20,3"),
    "a frame of 10^30": _table(f"Q1-000,side,{10**30},{10**30},2,2,8,20,3"),
    "a quarter that climbs": _table("../../../../etc/passwd,side,1,1,2,2,8,20,3"),
    "a quarter from the root": _table("/etc/passwd,side,1,1,2,2,8,20,3"),
    "a quarter of 600 letters": _table("Q" * 600 + ",side,1,1,2,2,8,20,3"),
    "escapes": _table(f"{ESCAPE},side,1,1,2,2,8,20,3", ROW),
    "escapes in the header": _table(ROW + ",1", head=f"{HEAD},{ESCAPE}"),
    "formulas": _table("=cmd|' /C calc'!A0,side,1,1,2,2,8,20,3"),
    "20,000 boxes of one frame": _table(*[ROW] * 20_000),
    "20,000 frames that are not there": _table(
        *(f"Q1-000,side,1,{number},2,2,8,20,3" for number in range(2, 20_002))
    ),
    "lone surrogates": "".join(_table("Q\udc80,side,1,1,2,2,8,20,3")),
}
CSVS: dict[str, str] = {
    "a path that climbs": "image,x,y,w,h,label\n../../../etc/passwd,1,1,4,4,1\n",
    "a path from the root": "image,x,y,w,h,label\n/etc/passwd,1,1,4,4,1\n",
    "a path of a device": "image,x,y,w,h,label\n/dev/zero,1,1,4,4,1\n",
    "a path with a zero": "image,x,y,w,h,label\na\0b,1,1,4,4,1\n",
    "a path of 5,000 letters": f"image,x,y,w,h,label\n{'x' * 5000},1,1,4,4,1\n",
    "a path of dots": "image,x,y,w,h,label\n.,1,1,4,4,1\n..,1,1,4,4,1\n",
    "escapes in a path": f"image,x,y,w,h,label\n{ESCAPE},1,1,4,4,1\n",
    "no columns that are known": "a,b,c\n1,2,3\n",
}
DOCUMENTS: dict[str, str] = {
    "nothing": "",
    "a list": "[]",
    "nested 100,000 deep": "[" * 100_000,
    "images that are none": '{"images": [1, null, "x"], "annotations": [{}]}',
    "annotations that are none": '{"images": [{"id": 1, "file_name": "a.jpg"}],'
    ' "annotations": [7]}',
    "ids that are lists": '{"images": [{"id": [1], "file_name": "a.jpg"}],'
    ' "annotations": [{"image_id": [1], "bbox": [0, 0, 1, 1]}]}',
    "boxes that are none": json.dumps(
        {
            "images": [{"id": 1, "file_name": FRAME, "width": 64, "height": 64}],
            "annotations": [
                {"id": at, "image_id": 1, "bbox": box, "category_id": 1}
                for at, box in enumerate(
                    ([], None, "x", [1], [1, 2, 3, "4"], [1e999, 0, 1, 1], [0, 0, -1, -1], {})
                )
            ],
        }
    ),
    "names that climb": '{"images": [{"id": 1, "file_name": "../../etc/passwd"}],'
    ' "annotations": [{"image_id": 1, "bbox": [0, 0, 9, 9], "id": 1, "category_id": 1}]}',
    "a number of 5,000 digits": '{"images": [{"id": ' + "9" * 5000 + "}]}",
}
FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link to /dev/zero": lambda file: file.symlink_to("/dev/zero"),
    "a link to itself": lambda file: file.symlink_to(file),
    "a terabyte of nothing": lambda file: (file.touch(), os.truncate(file, 1 << 40)),
}


def _frame(make: Callable[[Path], object], folder: Path) -> None:
    images = _frames(folder)
    (images / FRAME).unlink()
    make(images / FRAME)
    (folder / "train_meta.csv").write_text(_table(ROW))
    plan(AtmaCup(folder / "train_meta.csv", images), folder / "out.lmdb", num_workers=1)


ATTACKS: dict[str, Callable[[Path], object]] = {
    **{f"train_meta: {name}": functools.partial(_atmacup, text) for name, text in TABLES.items()},
    **{f"csv: {name}": functools.partial(_csv, text) for name, text in CSVS.items()},
    **{f"coco: {name}": functools.partial(_coco, text) for name, text in DOCUMENTS.items()},
    **{f"the csv is {name}": functools.partial(_file, make) for name, make in FILES.items()},
    **{f"a frame is {name}": functools.partial(_frame, make) for name, make in FILES.items()},
}
