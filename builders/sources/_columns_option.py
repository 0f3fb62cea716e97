"""`--columns image=file,x=left,...`: which column of a csv says what."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from lmdb_reid._arguments import known_fields
from lmdb_reid.errors import UsageError

_ONE = (
    *("image", "frame", "label", "x", "y", "w", "h", "x2", "y2"),
    *("camera", "split", "track", "kind"),
)
_MANY = ("group", "time")
ROLES = (*_ONE, *_MANY)
_SIDES, _CORNERS = {"x", "y", "w", "h"}, {"x", "y", "x2", "y2"}
_PLAIN = re.compile(r"[A-Za-z0-9_]{1,64}")
_TAKEN = {
    *("id", "id_offsets", "label", "kind", "x", "y", "w", "h", "width", "height", "image_size"),
    *("crc32", "record_crc32", "record_size", "src_order", "phash", "blur"),
}
"""What stores call columns of their own."""


def stored_name(name: str) -> str:
    """What a store calls a csv's column that has a role: it takes letters, digits and _ alone."""
    if _PLAIN.fullmatch(name) and name not in _TAKEN:
        return name
    return f"src_{re.sub(r'[^A-Za-z0-9_]', '_', name)}"[:64]


@known_fields
@dataclass(frozen=True, slots=True)
class ColumnRoles:
    """Names of csv columns by what they say.

    Args:
        one: a name for each role.
        group: the names of what rows belong to.
        time: those of the order in a group, the most significant first.

    Raises:
        UsageError: no image and no frame, or a box in part.
    """

    one: Mapping[str, str]
    group: tuple[str, ...] = ()
    time: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not {*self.one} & {"image", "frame"}:
            raise UsageError(
                "--columns must name the images' column, image=NAME, or of one video frame=NAME"
            )
        box = {*self.one} & (_SIDES | _CORNERS)
        if box not in (set(), _SIDES, _CORNERS):
            raise UsageError(
                "--columns must name x, y, w, h, or x, y, x2, y2, or none of them if images"
                f" are crops already, got {', '.join(sorted(box))}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `role=name,role=name`; `group` and `time` may stand more than once.

        Raises:
            UsageError: anything else, an unknown role, or a role or a column that stands twice.
        """
        one: dict[str, str] = {}
        many: dict[str, list[str]] = {name: [] for name in _MANY}
        for pair in text.split(","):
            role, equals, name = (part.strip() for part in pair.partition("="))
            if not equals or not name:
                raise UsageError(f"--columns must be ROLE=NAME,ROLE=NAME, got {pair!r}")
            if role not in ROLES:
                near = difflib.get_close_matches(role, ROLES, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise UsageError(
                    f"--columns must name only {', '.join(ROLES)}, got {role!r}.{hint}"
                )
            earlier = next((each for each, taken in one.items() if taken == name), None)
            if role in one or earlier is not None or any(name in taken for taken in many.values()):
                raise UsageError(
                    "--columns must have each role and each column once, got"
                    f" {pair.strip()!r} again"
                )
            if role in many:
                many[role].append(name)
            else:
                one[role] = name
        return cls(one, tuple(many["group"]), tuple(many["time"]))

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.one.values(), *self.group, *self.time]

    @property
    def times(self) -> tuple[str, ...]:
        """What says the order of frames in a group; a video's frames last."""
        return (*self.time, *([self.one["frame"]] if "frame" in self.one else []))

    @property
    def box(self) -> tuple[str, str, str, str] | None:
        """The names of the box's four numbers; None where there is none."""
        if "x" not in self.one:
            return None
        third, fourth = ("x2", "y2") if "x2" in self.one else ("w", "h")
        return self.one["x"], self.one["y"], self.one[third], self.one[fourth]

    @property
    def has_corners(self) -> bool:
        """Whether a box ends with its right bottom corner, instead of its sides."""
        return "x2" in self.one
