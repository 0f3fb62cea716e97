"""Messages, help texts and pages are full sentences in the words that users know.

What is refused here was in 205 messages and 77 lines of the pages on 26 Nov 2026.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmdb_reid.cli.main import SUMMARIES, commands

ROOT = Path(__file__).parents[2]
PACKAGES = ("lmdb_reid", "builders", "training")
PAGES = [
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "design.md"),
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "data/README.md")),
]
"""design.md is a log of decisions, for those who change the code."""

EVERYWHERE = {
    r"\btells?\b|\btold\b": "show, report, print",
    r"(?<!there )\b(is|are) (no|none)\b(?! (longer|more|matter|less))": "is not a",
    r"\b(goes|go|gone|went) on\b": "continue",
    r"\btaken? up again\b": "resume",
    r"\b(is|are) there\b": "exists",
    r"\b(stands?|stood|lies?|lay)\b": "is",
    r"\bnobody\b": "unlabelled, unknown, no person",
    r"\bfrom (-?\d|\{\}) up\b": "at least",
    r"\b(anew|mend|mends|mended|likewise)\b": "again; fix; (repeat it)",
    r"\bof (its|their|one's) own\b": "its own",
    r"\b(twins?|passport|race)\b": "baseline, environment, comparison",
    r"\bbut for\b|\bunless given\b": "except; default:",
    r"\b(house|seam|torture)\b": "architecture, protocol, fault tests",
}
IN_MESSAGES = {
    r"\bgives?\b|\bgiven?\b(?! (array|rule|path|column)\b)": "pass, use, must be, set",
    r"\bgave\b(?! up)": "returned",
}
IN_HELP = {r"^(of|that|to|what|how|where|is|with) ": "an imperative phrase"}
NAMES = re.compile(r"`[^`]*`|^  given ", re.MULTILINE)
"""Code, and the split rule of that name."""


def refused(text: str, *patterns: dict[str, str]) -> list[str]:
    """What a text should not say, each with what it could say."""
    prose = NAMES.sub("X", text)
    return [
        f"{found[0]!r} (use: {better})"
        for each in patterns
        for pattern, better in each.items()
        if (found := re.search(pattern, prose, re.IGNORECASE))
    ]


def messages() -> Iterator[tuple[str, str]]:
    """(place, text) of every string of three words or more that is no docstring; {} for values."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            inside = {
                id(part)
                for node in ast.walk(tree)
                if isinstance(node, ast.JoinedStr | ast.Expr)
                for part in ast.iter_child_nodes(node)
                if isinstance(node, ast.JoinedStr) or isinstance(part, ast.Constant)
            }
            for node in ast.walk(tree):
                if id(node) not in inside and (text := _text(node)) and len(text.split()) > 2:
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", text


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def helps() -> Iterator[tuple[str, str]]:
    """(command and option, its help)."""
    found = commands()
    for name in SUMMARIES:
        parser = argparse.ArgumentParser()
        importlib.import_module(found[name].value).configure(parser)
        for action in parser._actions:
            if action.help and action.help != argparse.SUPPRESS:
                yield f"{name} {action.option_strings or action.dest}", action.help


def prose(page: Path) -> Iterator[tuple[str, str]]:
    """(place, line) of a page, without its code."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.startswith("```")
        if not fenced and not line.startswith("    "):
            yield f"{page.name}:{number}", line


def test_messages_say_it_plainly() -> None:
    wrong = {
        f"{at}: {text!r}": bad
        for at, text in messages()
        if (bad := refused(text, EVERYWHERE, IN_MESSAGES))
    }
    assert wrong == {}


def test_help_texts_are_imperative_phrases() -> None:
    texts = dict(helps())
    assert len(texts) > 100
    wrong = {
        f"{at}: {text!r}": bad
        for at, text in texts.items()
        if (bad := refused(text, EVERYWHERE, IN_MESSAGES, IN_HELP))
    }
    assert wrong == {}


def test_summaries_of_commands_are_imperative_phrases() -> None:
    texts = {
        f"{name}: {text}": refused(text, EVERYWHERE, IN_HELP) for name, text in SUMMARIES.items()
    }
    assert {name: bad for name, bad in texts.items() if bad} == {}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_pages_say_it_plainly(page: Path) -> None:
    wrong = {f"{at}: {line}": bad for at, line in prose(page) if (bad := refused(line, EVERYWHERE))}
    assert wrong == {}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT))
)
def test_headings_are_nouns(page: Path) -> None:
    headings = [line.lstrip("# ") for _, line in prose(page) if line.startswith("#")]
    first = re.compile(r"^(what|how|where|why|look|that|to|from|if|when)\b", re.IGNORECASE)
    assert [heading for heading in headings if first.match(heading)] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("quality 101: give 1 to 100", True),
        ("it is no store", True),
        ("a build of X is there already", True),
        ("a number from 0 up", True),
        ("quality must be 1 to 100, got 101", False),
        ("p must be at least 1. Reduce k", False),
        ("there is no file", False),
    ],
)
def test_the_patterns_find_what_they_should(text: str, wrong: bool) -> None:
    assert bool(refused(text, EVERYWHERE, IN_MESSAGES)) is wrong
