"""What stands in a COCO json."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from builders.sources._tree import some_of
from lmdb_reid._json import check_nesting
from lmdb_reid._regular import MAX_TEXT, opened, read_limited
from lmdb_reid.errors import DuplicateSampleError, SourceError, SourceNotFoundError

_FARTHEST = 1 << 31
_DEEPEST = 200
"""How deep lists and maps may be nested; what COCO needs is 5."""
Image = tuple[str, Any]
"""The path of an image, and the video that it is of; None where there is none."""


def jsons_of(root: Path) -> list[Path]:
    """COCO's jsons in a folder and in its `annotations`, by their first bytes."""
    found = []
    for path in sorted((*root.glob("*.json"), *root.glob("annotations/*.json"))):
        try:
            with opened(path) as (descriptor, _):
                head = os.read(descriptor, 1 << 16)
                is_coco = b'"images"' in head or b'"annotations"' in head
        except (OSError, ValueError):
            continue
        if is_coco:
            found.append(path)
    return found


def read_document(path: Path) -> tuple[dict[str, Any], str]:
    """The json, and its SHA-256.

    Raises:
        SourceNotFoundError: no such file.
        SourceError: it is no json, or lacks images or annotations.
    """
    try:
        data = read_limited(path, MAX_TEXT)
        document = _decoded(data)
    except FileNotFoundError:
        raise SourceNotFoundError(f"no json at {path} (--annotations)") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} is not a usable json: {error}") from None
    for name in ("images", "annotations"):
        if not isinstance(document, dict) or not isinstance(document.get(name), list):
            has = some_of(sorted(document)) if isinstance(document, dict) else "a list"
            raise SourceError(f"{path} must have a list of {name}, as COCO has it; it has {has}")
        if not document[name]:
            raise SourceError(f"{path} must have {name}; its list of them is empty")
    return document, hashlib.sha256(data).hexdigest()


def _decoded(data: bytes) -> Any:
    encoding = json.detect_encoding(data)
    if encoding not in ("utf-8", "utf-8-sig"):
        data = data.decode(encoding).encode()
    check_nesting(data, _DEEPEST)
    return json.loads(data)


def images_of(images: Iterable[Any]) -> dict[Any, Image]:
    """Path and video of each image by its id.

    Raises:
        SourceError: an image has no id, or no name.
        DuplicateSampleError: two have one id.
    """
    found: dict[Any, Image] = {}
    for image in images:
        try:
            number, path = image["id"], str(image["file_name"])
        except (KeyError, TypeError):
            raise SourceError(
                f"an image must have id and file_name, got {str(image)[:80]}"
            ) from None
        if not isinstance(number, int | str):
            raise SourceError(f"an image's id must be a number or a text, got {number!r}")
        if number in found:
            raise DuplicateSampleError(
                f"an image's id must be unique; {number} is that of {found[number][0]} and {path}"
            )
        found[number] = (path.removeprefix("./"), image.get("video_id"))
    return found


def notes_of(annotations: Iterable[Any]) -> list[Mapping[str, Any]]:
    """The annotations; what cannot be the number of an image or a category is text instead."""
    found: list[Mapping[str, Any]] = []
    for note in annotations:
        one: dict[str, Any] = dict(note) if isinstance(note, dict) else {}
        for name in ("image_id", "category_id"):
            if not isinstance(one.get(name), int | str | None):
                one[name] = str(one[name])
        found.append(one)
    return found


def categories_of(categories: Any) -> dict[Any, str]:
    """The name of each category by its number; those that have none are passed over."""
    listed = categories if isinstance(categories, list) else []
    numbered = [each for each in listed if isinstance(each, dict) and "id" in each]
    return {
        each["id"]: str(each.get("name", each["id"]))
        for each in numbered
        if isinstance(each["id"], int | str)
    }


def attributes_of(note: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an annotation calls `attributes`."""
    attributes = note.get("attributes")
    return attributes if isinstance(attributes, dict) else {}


def cell_of(note: Mapping[str, Any], name: str) -> Any:
    """What an annotation, or its attributes, have under a name; None where they have nothing."""
    return note.get(name, attributes_of(note).get(name))


def fault_of(note: Mapping[str, Any], images: Mapping[Any, Image]) -> str:
    """Why an annotation cannot be used; "" where it can."""
    number = note.get("image_id")
    if number not in images:
        return f"no image has the id {number!r}"
    path = images[number][0]
    if path.startswith("/") or ".." in path.split("/"):
        return f"its image must be a path below --root, got {path}"
    box = note.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        return f"its bbox must be [x, y, w, h], got {str(box)[:80]}"
    if not all(isinstance(side, int | float) and abs(side) < _FARTHEST for side in box):
        return f"its bbox must be four numbers below 2^31, got {box}"
    if box[2] <= 0 or box[3] <= 0:
        return f"its bbox must have a width and a height, got {box}"
    return ""
