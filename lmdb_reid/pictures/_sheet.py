"""Contact sheets: images side by side under a title, in groups, each with its caption."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid.errors import UsageError
from lmdb_reid.pictures._letters import Letters
from lmdb_reid.pictures._picture import Picture, pillow
from lmdb_reid.schema import Pixels, Size

Colour = tuple[int, int, int]
"""(red, green, blue), each 0 to 255."""
CELL: Size = (176, 98)
"""The space for an image, a little wider than a person, so that two lines say who and when."""

_PAPER, _INK, _FAINT = (24, 24, 24), (225, 225, 225), (160, 160, 160)
_GAP, _EDGE = 6, 3  # pixels
_LINES = 2  # of a caption
_LEAST = 300  # pixels that a title is wide
_WIDER = 1.5  # than high, as far as the number of columns allows it


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are, in pixels."""

    columns: int
    cell: Size
    lines: int
    caption: Letters
    heading: Letters | None
    """None without groups."""

    @property
    def step(self) -> tuple[int, int]:
        """(height, width) from one cell to the next."""
        below = self.lines * self.caption.height + 2 if self.lines else 0
        return self.cell[0] + below + _GAP, self.cell[1] + _GAP

    @property
    def width(self) -> int:
        return self.columns * self.step[1] + _GAP

    @property
    def above(self) -> int:
        """The height of a heading."""
        return self.heading.height + 4 if self.heading is not None else 0

    def height(self, band: Sequence[tuple[int, int]]) -> int:
        """Of a band of groups, with their headings."""
        most = max(count for _, count in band)
        return self.above + math.ceil(most / self.columns) * self.step[0]


def contact_sheet(
    images: Sequence[Pixels | None],
    captions: Sequence[str],
    *,
    columns: int | None = None,
    cell: Size = CELL,
    title: str = "",
    groups: Sequence[str] = (),
    edges: Sequence[Colour | None] = (),
    legend: Mapping[str, Colour] | None = None,
) -> Picture:
    """Images side by side, each fitted into a cell with its caption below.

    Texts may be of any script; control characters are written as escapes.

    Args:
        images: uint8 [H, W, 3] each, of any sizes; None leaves a cell empty.
        captions: one for each; broken at " · " into two lines, cut where they are wider than the
            cell.
        columns: cells in a row; chosen for a sheet a little wider than high unless given.
        cell: (height, width) of the space for each image, in pixels.
        title: a line above all.
        groups: a heading for each image; neighbours with the same one stand together below it, and
            beside other groups where there is space.
        edges: a colour for each image, of a line around it, or None.
        legend: what the colours mean.

    Raises:
        UsageError: no images, or not as many captions, groups or edges.
        MissingExtraError: Pillow is not installed.
    """
    _check(images, captions, groups, edges)
    caption = Letters(12)
    lines = [caption.lines(text.split(" · "), cell[1], _LINES) for text in captions]
    below = max(len(each) if any(each) else 0 for each in lines)
    groups = groups or [""] * len(images)
    names, counts = zip(*((name, len(list(same))) for name, same in groupby(groups)), strict=True)
    layout = _Layout(1, cell, below, caption, Letters(13) if any(names) else None)
    columns = min(columns or _columns(counts, layout), len(images))
    layout = dataclasses.replace(layout, columns=max(1, columns))
    bands = _bands(counts, layout.columns)
    head = _head(layout, title, legend or {})
    below_head = (head.shape[0] if head is not None else 0) + _GAP
    height = below_head + sum(layout.height(band) for band in bands)
    width = max(layout.width, head.shape[1] if head is not None else 0)
    image = pillow("drawing contact sheets").Image.new("RGB", (width, height), _PAPER)
    sheet = _Sheet(image, layout)
    at, group, y = 0, 0, below_head
    for band in bands:
        for column, count in band:
            sheet.draw_heading(names[group], (y, column), count)
            part = slice(at, at + count)
            top = y + layout.above
            edge = edges[part] if edges else [None] * count
            sheet.draw_cells(images[part], lines[part], edge, (top, column))
            at, group = at + count, group + 1
        y += layout.height(band)
    pixels = np.array(image)
    if head is not None:
        pixels[: head.shape[0], : head.shape[1]] = head
    return Picture(pixels)


class _Sheet:
    """A picture that is being drawn."""

    def __init__(self, image: Any, layout: _Layout) -> None:
        self._image = image
        self._canvas = pillow("drawing contact sheets").ImageDraw.Draw(image)
        self._layout = layout

    def draw_heading(self, text: str, at: tuple[int, int], count: int) -> None:
        """Above a group of `count` cells; `at` is (y, column)."""
        letters, (y, column) = self._layout.heading, at
        if letters is None:
            return
        x = column * self._layout.step[1] + _GAP
        below = min(count, self._layout.columns) * self._layout.step[1]
        whole_line = column == 0 and count >= self._layout.columns
        width = self._image.width - 2 * _GAP if whole_line else below - _GAP
        letters.draw(self._canvas, (x, y), letters.fitted(text, width), _INK)

    def draw_cells(
        self,
        images: Sequence[Pixels | None],
        captions: Sequence[Sequence[str]],
        edges: Sequence[Colour | None],
        top: tuple[int, int],
    ) -> None:
        """A group; `top` is (y, column) of its first cell."""
        layout = self._layout
        for at, (image, lines, edge) in enumerate(zip(images, captions, edges, strict=True)):
            y = at // layout.columns * layout.step[0] + top[0]
            x = (top[1] + at % layout.columns) * layout.step[1] + _GAP
            if image is not None:
                self._place(image, (y, x), edge)
            for number, line in enumerate(lines):
                y_of = y + layout.cell[0] + 2 + number * layout.caption.height
                colour = _FAINT if number else _INK
                layout.caption.draw(self._canvas, (x, y_of), line, colour)

    def _place(self, image: Pixels, at: tuple[int, int], edge: Colour | None) -> None:
        """Fit an image into its cell, at the middle of its foot, with a line around it."""
        line = _EDGE if edge is not None else 0
        space = [side - 2 * line for side in self._layout.cell]
        scale = min(space[0] / image.shape[0], space[1] / image.shape[1])
        height, width = (
            max(1, min(most, round(side * scale)))
            for most, side in zip(space, image.shape, strict=False)
        )
        y = at[0] + self._layout.cell[0] - height - line
        x = at[1] + (self._layout.cell[1] - width) // 2
        if edge is not None:
            box = (x - line, y - line, x + width + line - 1, y + height + line - 1)
            self._canvas.rectangle(box, fill=edge)
        # Pillow's pixels, not `codec.resize`'s: nobody trains on them, and OpenCV is not needed.
        form = pillow("drawing contact sheets").Image
        whole = form.fromarray(np.ascontiguousarray(image))
        self._image.paste(whole.resize((width, height), form.Resampling.BILINEAR), (x, y))


def _check(
    images: Sequence[Any], captions: Sequence[str], groups: Sequence[str], edges: Sequence[Any]
) -> None:
    if not images or len(images) != len(captions):
        raise UsageError(
            f"images and captions must be as many, and at least one, got {len(images)} images and"
            f" {len(captions)} captions."
        )
    for name, each in (("groups", groups), ("edges", edges)):
        if each and len(each) != len(images):
            raise UsageError(
                f"{name} must be one for each of {len(images)} images, got {len(each)}."
            )


def _bands(counts: Sequence[int], columns: int) -> list[list[tuple[int, int]]]:
    """[(column, count) of each group that stands beside others] of each band, in order: a group
    that is wider than what is left of a band begins the next one.
    """
    bands: list[list[tuple[int, int]]] = []
    free = 0
    for count in counts:
        if not bands or count > free:
            bands.append([])
            free = columns
        bands[-1].append((columns - free, count))
        free = max(0, free - count)
    return bands


def _columns(counts: Sequence[int], layout: _Layout) -> int:
    """The number of columns that makes the sheet a little wider than high, with few empty cells."""

    def off(columns: int) -> float:
        tried = dataclasses.replace(layout, columns=columns)
        bands = _bands(counts, columns)
        shape = tried.width / sum(tried.height(band) for band in bands)
        rows = sum(math.ceil(max(count for _, count in band) / columns) for band in bands)
        empty = 1 - sum(counts) / (rows * columns)
        return abs(math.log(shape / _WIDER)) + 2 * empty

    most = min(sum(counts), 4 * math.ceil(math.sqrt(sum(counts))))
    return min(range(1, most + 1), key=off)


def _head(
    layout: _Layout, title: str, legend: Mapping[str, Colour]
) -> npt.NDArray[np.uint8] | None:
    """The title, and below it what the colours mean; as wide as the sheet, and 300 pixels at least.
    None if there is neither.
    """
    if not title and not legend:
        return None
    letters, small = Letters(15), layout.caption
    width = max(layout.width, _LEAST)
    lines = letters.lines(title.split(" · "), width - 2 * _GAP, 3) if title else []
    places, rows = _placed(legend, small, width)
    height = _GAP + len(lines) * letters.height + rows * (small.height + 2)
    pil = pillow("drawing contact sheets")
    image = pil.Image.new("RGB", (width, height), _PAPER)
    canvas = pil.ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        letters.draw(canvas, (_GAP, _GAP + number * letters.height), line, _INK)
    below = _GAP + len(lines) * letters.height + 2
    for (name, colour), (x, row) in zip(legend.items(), places, strict=True):
        y = below + row * (small.height + 2)
        canvas.rectangle((x, y + 3, x + 9, y + 12), fill=colour)
        small.draw(canvas, (x + 14, y), small.fitted(name, width), _FAINT)
    return np.array(image)


def _placed(
    legend: Mapping[str, Colour], letters: Letters, width: int
) -> tuple[list[tuple[int, int]], int]:
    """((x, row) of each entry of a legend, how many rows)."""
    places, x, row = [], _GAP, 0
    for name in legend:
        wide = 14 + math.ceil(letters.width(letters.fitted(name, width))) + 14
        if x + wide > width and x > _GAP:
            x, row = _GAP, row + 1
        places.append((x, row))
        x += wide
    return places, row + 1 if legend else 0
