"""Letters of any script, in the fonts that this machine has.

Latin letters come in the font that Pillow carries, so that they look the same everywhere. For each
other character the fonts of the system are asked, those of many scripts first; a character that
none of them has is drawn as a box. Control characters are written as escapes: see `visible`.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from lmdb_reid._visible import visible
from lmdb_reid.pictures._picture import pillow

_MANY_SCRIPTS = (
    *("dejavusans", "notosans-regular", "arialunicode", "arial unicode", "notosanscjk"),
    *("sourcehansans", "wqy", "ipaexg", "ipag", "hiragino", "pingfang", "yugoth", "msyh", "malgun"),
    *("droidsansfallback", "unifont", "nirmala", "leelaw", "segoeui"),
)
_OTHER_STYLE = re.compile(r"bold|italic|oblique|black|heavy|thin|light|condensed|mono|serif|emoji")
_SUFFIXES = (".ttf", ".otf", ".ttc")
_MOST_FONTS = 500  # that are asked for a character
_LONGEST = 600  # characters of a text that are looked at
_NO_CHARACTER = "\U0010ffff"
_MORE = "…"


class Letters:
    """Text of one size.

    Args:
        size: of the letters, in pixels.

    Raises:
        MissingExtraError: Pillow is not installed.
    """

    def __init__(self, size: int) -> None:
        pillow("drawing contact sheets")
        self.size = size
        self.height = round(1.35 * size)
        """Of a line, in pixels."""

    def width(self, text: str) -> float:
        """How wide a text is, in pixels."""
        return float(sum(_font(file, self.size).getlength(run) for file, run in _runs(text)))

    def fitted(self, text: str, width: float) -> str:
        """The text as people may see it, shortened to `width` pixels with an ellipsis."""
        text = visible(text[:_LONGEST])
        if self.width(text) <= width:
            return text
        least, most = 0, len(text)
        while most - least > 1:
            middle = (least + most) // 2
            fits = self.width(text[:middle] + _MORE) <= width
            least, most = (middle, most) if fits else (least, middle)
        return text[:least] + _MORE if self.width(text[:least] + _MORE) <= width else ""

    def lines(self, parts: list[str], width: float, most: int) -> list[str]:
        """Parts in at most `most` lines of `width` pixels, broken between parts, " · " elsewhere;
        what does not fit is shortened.
        """
        lines: list[str] = []
        for part in (part[:_LONGEST] for part in parts):
            joined = f"{lines[-1]} · {part}" if lines else part
            if lines and (len(lines) == most or self.width(visible(joined)) <= width):
                lines[-1] = joined
            else:
                lines.append(part)
        return [self.fitted(line, width) for line in lines]

    def draw(self, canvas: Any, at: tuple[float, float], text: str, colour: Any) -> None:
        """Write one line.

        Args:
            canvas: Pillow's ImageDraw.
            at: (x, y) of its upper left corner.
            text: without control characters, as `fitted` returns it.
            colour: (red, green, blue).
        """
        x, y = at
        for file, run in _runs(text):
            font = _font(file, self.size)
            canvas.text((x, y + self.size), run, colour, font, anchor="ls")
            x += font.getlength(run)


def _runs(text: str) -> Iterator[tuple[Path | None, str]]:
    """(font, characters that it has) of each piece of a text."""
    files: list[Path | None] = []
    for letter in text:
        joins = unicodedata.category(letter) in ("Mn", "Me", "Cf") and files
        files.append(files[-1] if joins else _file_with(letter))
    for file, pairs in groupby(zip(files, text, strict=True), lambda pair: pair[0]):
        yield file, "".join(letter for _, letter in pairs)


@cache
def _font(file: Path | None, size: int) -> Any:
    fonts = pillow("drawing letters").ImageFont
    return fonts.load_default(size) if file is None else fonts.truetype(str(file), size)


@lru_cache(10_000)
def _file_with(letter: str) -> Path | None:
    """The font that has a character; None stands for Pillow's own, also where none has it."""
    return None if _has(None, letter) else next((f for f in _files() if _has(f, letter)), None)


def _has(file: Path | None, letter: str) -> bool:
    try:
        font = _font(file, 16)
        return _mask(font, letter) != _mask(font, _NO_CHARACTER)
    except OSError:  # damaged, or of a kind that cannot be scaled
        return False


def _mask(font: Any, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@cache
def _files() -> list[Path]:
    """The fonts of this machine in their upright style, those of many scripts first."""
    found = {
        Path(folder, name).stem.lower(): Path(folder, name)
        for root in _folders()
        for folder, _, names in os.walk(root)
        for name in sorted(names)
        if name.lower().endswith(_SUFFIXES) and not _OTHER_STYLE.search(name.lower())
    }

    def place(stem: str) -> tuple[bool, int, str]:
        starts = (n for n, start in enumerate(_MANY_SCRIPTS) if stem.startswith(start))
        # The "last resort" has a box for every character there is.
        return stem.startswith("lastresort"), next(starts, len(_MANY_SCRIPTS)), stem

    return [found[stem] for stem in sorted(found, key=place)][:_MOST_FONTS]


def _folders() -> Iterator[Path]:
    """Where fonts are: matplotlib's, if it is installed, then the system's, then the user's."""
    matplotlib = find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin is not None:
        yield Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf"
    home = Path("~").expanduser()
    if sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts")
    elif sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts")
    else:
        data = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        yield from (Path(one, "fonts") for one in data.split(":"))
        yield from (home / ".local/share/fonts", home / ".fonts")
