"""An array that shows and saves itself as a picture."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmdb_reid import _disk, codec
from lmdb_reid._names import Guesses, guessed
from lmdb_reid.errors import MissingExtraError, UsageError, WriteError


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
        return pillow("a picture as a Pillow image").Image.fromarray(self.image)

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
            MissingExtraError: Pillow is not installed, and the picture is no JPEG.
            WriteError: the file cannot be written; whatever had its name stays.
        """
        file = Path(path)
        data = self._encoded(file)
        if not file.parent.is_dir():
            raise WriteError(
                f"{file} cannot be written: its folder does not exist. Create {file.parent} first.",
                path=file,
            )
        with _disk.whole_file(file) as out:
            out.write(data)
        return file

    def _encoded(self, file: Path) -> bytes:
        suffix = file.suffix.lower()
        if suffix in (".jpg", ".jpeg"):
            return codec.encode(self.image, quality=92)
        image = pillow(f"saving a picture as {suffix or file.name!r}").Image
        form = image.registered_extensions().get(suffix)
        if form not in image.SAVE:
            raise UsageError(f"a picture's name must end in .jpg or .png, got {file.name!r}")
        held = io.BytesIO()
        image.fromarray(self.image).save(held, form)
        return held.getvalue()

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


def pillow(what: str) -> Any:
    """Pillow's package, with the modules that pictures need.

    Raises:
        MissingExtraError: it is not installed; `what` needs it.
    """
    try:
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont
    except ImportError:
        raise MissingExtraError.of("Pillow", "notebook", what) from None
    return PIL
