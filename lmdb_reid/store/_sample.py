"""One sample, owned by whoever asked for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from lmdb_reid import _disk, codec, pictures
from lmdb_reid._names import Guesses, did_you_mean, guessed
from lmdb_reid.errors import CorruptSampleError, ImageError, UnknownColumnError, UsageError
from lmdb_reid.schema import Box, Kind, Pixels, Size
from lmdb_reid.store._captions import COLOURS
from lmdb_reid.store._notebook import image_tag, text_html

_OWN = ("id", "row", "label", "kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample of a store: everything in it is a copy and stays valid.

    `sample["quarter"]` is a field of its record; `np.asarray(sample)` are its pixels.
    """

    id: str
    row: int
    """Its place in key order."""
    label: int
    """The identity, or -1."""
    kind: Kind
    record: Mapping[str, Any]
    """All that is known of it, under the source's own names."""
    jpeg: bytes
    """The image as stored; its checksum was compared."""

    @property
    def image(self) -> Pixels:
        """The pixels, uint8 [H, W, 3] RGB, decoded at each call.

        Raises:
            CorruptSampleError: the stored JPEG cannot be decoded (it was damaged before it was
                stored).
        """
        try:
            return codec.decode(self.jpeg)
        except ImageError as error:
            raise CorruptSampleError(f"{self.id}: {error}", ids=[self.id]) from None

    @property
    def pil(self) -> Any:
        """The pixels as a Pillow image, decoded at each call.

        Raises:
            CorruptSampleError: as `image`.
            MissingExtraError: Pillow is not installed.
        """
        return self._picture().pil

    @property
    def size(self) -> Size:
        """(height, width) of the image, in pixels."""
        height, width, _, _ = codec.header(self.jpeg)
        return height, width

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3): the shape of `image`."""
        return (*self.size, 3)

    @property
    def box(self) -> Box | None:
        """The box in pixels of its frame, of the record's x, y, w and h; None without these."""
        sides = [self.record.get(name) for name in Box._fields]
        if not all(isinstance(side, int | float) for side in sides):
            return None
        return Box(*(float(side) for side in sides if side is not None))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image: as .jpg or .jpeg the stored bytes, else as `Picture.save` does.

        Returns:
            The file.

        Raises:
            UsageError: a suffix that stands for no format of pictures.
            OSError: the file cannot be written.
        """
        file = Path(path)
        if file.suffix.lower() in (".jpg", ".jpeg"):
            _disk.write_whole(file, self.jpeg)
            return file
        return self._picture().save(file)

    def show(self) -> None:
        """Show the image: in a notebook below the cell, else in the system's viewer.

        Raises:
            MissingExtraError: Pillow is not installed, which finds the viewer.
        """
        self._picture().show()

    def __getitem__(self, field: str) -> Any:
        """A field of the record, or the sample's own id, row, label or kind.

        Raises:
            UnknownColumnError: no such field; names the nearest.
        """
        if field in _OWN:
            return getattr(self, field)
        if not isinstance(field, str):
            raise UsageError(f"a field must be named by a text such as 'label', got {field!r}.")
        if field not in self.record:
            fields = [*_OWN, *(name for name in self.record if name not in _OWN)]
            hint = did_you_mean(field, fields)
            raise UnknownColumnError(
                f"sample {self.id!r} has no field {field!r}.{hint} It has {', '.join(fields)}.",
                ids=[self.id],
            )
        return self.record[field]

    def __contains__(self, field: object) -> bool:
        return field in _OWN or field in self.record

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self.record})

    __iter__ = None  # or Python would try [0], [1], ... in its place

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        pixels = self.image  # new at each call
        return pixels if dtype is None else pixels.astype(dtype)

    def __repr__(self) -> str:
        height, width = self.size
        return (
            f"Sample({self.id!r}, label={self.label}, kind={self.kind.title}, {height}x{width},"
            f" {len(self.jpeg)} bytes)"
        )

    def _picture(self) -> pictures.Picture:
        return pictures.Picture(self.image)

    def _repr_html_(self) -> str:
        facts = {"label": self.label, "kind": self.kind.title}
        facts |= {name: value for name, value in self.record.items() if name not in facts}
        rows = "".join(
            f'<tr><th style="text-align:left">{text_html(k)}</th><td>{text_html(v)}</td></tr>'
            for k, v in facts.items()
        )
        return (
            '<div style="display:flex;gap:1em;align-items:flex-start">'
            f"{image_tag(self.jpeg, self.id, 192, COLOURS[self.kind])}"
            f"<table><caption><b>{text_html(self.id)}</b></caption>{rows}</table></div>"
        )

    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getattr__(self, name: str) -> Any:
            # While it is unpickled it has no record yet.
            if not name.startswith("_") and name != "record" and name in self.record:
                return self.record[name]
            return guessed(self, name, _GUESSES)


def _whole(sample: Sample) -> dict[str, Any]:
    return {**sample.record, **{name: sample[name] for name in _OWN}}


_GUESSES = Guesses(
    works={
        "bbox": lambda sample: sample.box,
        "to_pil": lambda sample: lambda: sample.pil,
        "to_dict": lambda sample: lambda: _whole(sample),
    },
    answers={
        "path": "Use sample.id; sample.save('crop.jpg') writes its image.",
        "tensor": "Use torch.from_numpy(sample.image).permute(2, 0, 1).",
        "bytes": "Use sample.jpeg.",
        "pixels": "Use sample.image.",
        "array": "Use sample.image.",
        "identity": "Use sample.label.",
        "open": "Use sample.pil or sample.show().",
    },
)
