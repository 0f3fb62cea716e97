"""Texts of a source as people may see them: no character is obeyed by a terminal, a page or a
picture.
"""

from __future__ import annotations

import re

# Those above 0x1f are allowed in JSON, and a terminal takes some of them for commands; the marks
# and overrides of direction (U+061C to U+2069) would turn what stands beside them round.
UNSEEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL = re.compile(f"[\x00-\x1f]|{UNSEEN.pattern}")


def visible(text: str) -> str:
    """A text without control characters: what a terminal would obey is written as an escape."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
