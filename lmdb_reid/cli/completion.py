"""`lmdb-reid completion`: commands and options completed by the shell."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from lmdb_reid._lazy import EXTRA_OF_MODULE
from lmdb_reid.cli._parser import Parser
from lmdb_reid.cli.main import PROG, SUMMARIES, commands, configured, main_parser
from lmdb_reid.errors import MissingExtraError

SHELLS = ("bash", "zsh")
# What a value is, by its metavar.
_FOLDERS, _FILES = ("STORE", "DIR", "FRAMES"), ("FILE", "CSV", "PNG", "JSON")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="complete for bash or zsh")
    parser.epilog = """examples:
  lmdb-reid completion bash > ~/.local/share/bash-completion/completions/lmdb-reid
  lmdb-reid completion zsh > ~/.zfunc/_lmdb-reid    (~/.zfunc in fpath, before compinit)"""


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab
    except ModuleNotFoundError:
        raise MissingExtraError.of("shtab", EXTRA_OF_MODULE["shtab"], "completion") from None
    whole = _whole()
    for parser in (whole, *_below(whole)):
        for action in parser._actions:
            if action.metavar in _FOLDERS:
                vars(action)["complete"] = shtab.DIRECTORY
            elif action.metavar in _FILES or action.dest == "output":
                vars(action)["complete"] = shtab.FILE
    sys.stdout.write(shtab.complete(whole, args.shell))
    return 0


def _whole() -> Parser:
    """One parser with every command that can be imported here."""
    whole = main_parser()
    whole.prog = PROG
    add = whole.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for name, entry in commands().items():
        summary = SUMMARIES.get(name, f"run {name}")
        parser = add.add_parser(name, description=summary, help=summary)
        with contextlib.suppress(ModuleNotFoundError):  # its options need an extra
            module = entry.load()
            configured(parser, module)
            if hasattr(module, "complete"):
                module.complete(parser)
    named = add.add_parser("help", description="show a command's options", help="show options")
    named.add_argument("command", choices=[*commands()], nargs="?")
    return whole


def _below(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    choices: dict[str, Any] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            choices |= action.choices
    return [*choices.values()]
