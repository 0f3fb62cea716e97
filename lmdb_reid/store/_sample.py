"""One sample, owned by whoever asked for it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmdb_reid import codec
from lmdb_reid.errors import CorruptSampleError, ImageError
from lmdb_reid.schema import Kind
from lmdb_reid.store._notebook import image_tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample of a store: everything in it is a copy and stays valid."""

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
    def image(self) -> npt.NDArray[np.uint8]:
        """The pixels, uint8 [H, W, 3] RGB, decoded at each call.

        Raises:
            CorruptSampleError: the stored JPEG cannot be decoded (it was damaged before it was
                stored).
        """
        try:
            return codec.decode(self.jpeg)
        except ImageError as error:
            raise CorruptSampleError(f"{self.id}: {error}", ids=[self.id]) from None

    def __repr__(self) -> str:
        height, width, _, _ = codec.header(self.jpeg)
        return (
            f"Sample({self.id!r}, label={self.label}, kind={self.kind.title}, {height}x{width},"
            f" {len(self.jpeg)} bytes)"
        )

    def _repr_html_(self) -> str:
        facts = {"label": self.label, "kind": self.kind.title}
        facts |= {name: value for name, value in self.record.items() if name not in facts}
        rows = "".join(
            f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>"
            for k, v in facts.items()
        )
        title = html.escape(self.id)
        return (
            '<div style="display:flex;gap:1em;align-items:flex-start">'
            f"{image_tag(self.jpeg, self.id, 192)}"
            f"<table><caption><b>{title}</b></caption>{rows}</table></div>"
        )
