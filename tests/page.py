"""The tables that commands write into docs/reliability.md."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"


def write_table(
    section: str, command: str, head: Sequence[str], rows: Iterable[Sequence[str]], after: str = ""
) -> None:
    """Put a table between the marks of its section, with the command that made it and the date.

    Args:
        section: "<!-- section: begin -->" and "<!-- section: end -->" are on the page.
        command: what makes the same table again.
        head: titles of the columns.
        rows: their cells.
        after: lines below the table.
    """
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    text = PAGE.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, ended, behind = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{PAGE.name} must have the marks {begin} and {end}")
    lines = [
        f"`{command}`, {datetime.datetime.now(datetime.UTC).date()}:",
        "",
        f"| {' | '.join(head)} |",
        f"| {' | '.join(['---'] * len(head))} |",
        *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows),
        *([] if not after else ["", after]),
    ]
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{begin}\n{table}\n{end}{behind}", encoding="utf-8")
