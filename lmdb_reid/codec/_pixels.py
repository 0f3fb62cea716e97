"""The types that JPEG bytes travel as."""

from __future__ import annotations

from typing import Any, Literal

Buffer = Any  # collections.abc.Buffer is newer than Python 3.11
Subsampling = Literal["444", "422", "420", "440", "411"]
