"""Pictures for people: contact sheets from decoded arrays."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmdb_reid import codec
from lmdb_reid._names import Guesses, guessed
from lmdb_reid.errors import MissingExtraError, UsageError
from lmdb_reid.schema import Size

try:
    import cv2
except ImportError:  # only pictures with captions need it
    cv2 = None  # type: ignore[assignment]  # the module's name doubles as the flag

_PAPER, _INK = 24, (225, 225, 225)
_CAPTION, _GAP = 15, 4  # pixels


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that shows itself in a notebook and can be saved."""

    image: npt.NDArray[np.uint8]
    """uint8 [H, W, 3], RGB."""

    @property
    def pil(self) -> Any:
        """The same as a Pillow image.

        Raises:
            MissingExtraError: Pillow is not installed.
        """
        return _pillow("a picture as a Pillow image").fromarray(self.image)

    def show(self) -> None:
        """Show it: in a notebook below the cell, else in the system's viewer.

        Raises:
            MissingExtraError: Pillow is not installed, which finds the viewer.
        """
        shell = sys.modules.get("IPython")
        if shell is not None and hasattr(shell.get_ipython(), "kernel"):
            from IPython.display import display

            display(self)
        else:
            self.pil.show()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JPEG (.jpg, .jpeg), PNG (.png) or, by Pillow, another format of pictures.

        Returns:
            The file.

        Raises:
            UsageError: the suffix stands for no format of pictures.
            MissingExtraError: what writes the format is not installed.
        """
        file = Path(path)
        suffix = file.suffix.lower()
        if suffix in (".jpg", ".jpeg"):
            file.write_bytes(codec.encode(self.image, quality=92))
        elif suffix == ".png":
            _, data = _opencv().imencode(".png", self.image[:, :, ::-1])
            file.write_bytes(data.tobytes())
        else:
            picture = _pillow(f"saving a picture as {suffix or file.name!r}").fromarray(self.image)
            try:
                picture.save(file)
            except ValueError:
                raise UsageError(
                    f"a picture's name must end in .jpg or .png, got {file.name!r}"
                ) from None
        return file

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return np.array(self.image, dtype, copy=copy is not False)

    def __repr__(self) -> str:
        height, width, _ = self.image.shape
        return f"Picture({height}x{width})"

    def _repr_jpeg_(self) -> bytes:
        return codec.encode(self.image, quality=92)

    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getattr__(self, name: str) -> Any:
            return guessed(self, name, _GUESSES)


_GUESSES = Guesses(
    works={
        "to_pil": lambda picture: lambda: picture.pil,
        "shape": lambda picture: picture.image.shape,
        "size": lambda picture: picture.image.shape[:2],
    },
    answers={},
)


def contact_sheet(
    images: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    *,
    columns: int | None = None,
    cell: Size = (160, 88),
) -> Picture:
    """Images side by side, each fitted into a cell with its caption below.

    Args:
        images: uint8 [H, W, 3] each, of any sizes.
        captions: one line for each; cut where it is wider than the cell.
        columns: cells in a row; chosen for a sheet a little wider than high unless given.
        cell: (height, width) of the space for each image, in pixels.

    Raises:
        UsageError: no images, or not as many captions.
        MissingExtraError: OpenCV is not installed.
    """
    if not images or len(images) != len(captions):
        raise UsageError(
            f"a sheet of {len(images)} images and {len(captions)} captions: as many, and at"
            f" least one"
        )
    _opencv()
    height, width = cell[0] + _CAPTION + _GAP, cell[1] + _GAP
    columns = columns or math.ceil(math.sqrt(1.5 * len(images) * height / width))
    columns = max(1, min(columns, len(images)))
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * height + _GAP, columns * width + _GAP, 3), _PAPER, np.uint8)
    for at, (image, caption) in enumerate(zip(images, captions, strict=True)):
        y, x = at // columns * height + _GAP, at % columns * width + _GAP
        _place(sheet[y : y + cell[0], x : x + cell[1]], image)
        _write(sheet[y + cell[0] : y + cell[0] + _CAPTION, x : x + cell[1]], caption)
    return Picture(sheet)


def _place(space: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> None:
    scale = min(space.shape[0] / image.shape[0], space.shape[1] / image.shape[1])
    height = max(1, min(space.shape[0], round(image.shape[0] * scale)))
    width = max(1, min(space.shape[1], round(image.shape[1] * scale)))
    y, x = (space.shape[0] - height) // 2, (space.shape[1] - width) // 2
    space[y : y + height, x : x + width] = codec.resize(image, (height, width))


def _write(space: npt.NDArray[np.uint8], text: str) -> None:
    letters = np.ascontiguousarray(space)
    plain = text.encode("ascii", "replace").decode()
    _opencv().putText(
        letters, plain, (1, _CAPTION - 4), 0, 0.36, _INK, 1, 16
    )  # Hershey simplex, antialiased
    space[...] = letters


def _opencv() -> Any:
    if cv2 is None:
        raise MissingExtraError.of("OpenCV", "notebook", "drawing contact sheets")
    return cv2


def _pillow(what: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError.of("pillow", "build", what) from None
    return Image
