"""How the command line is parsed: wrong use is an error of one or two lines, with a tip."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from lmdb_reid._names import nearest
from lmdb_reid.cli import _colour
from lmdb_reid.errors import UsageError

if TYPE_CHECKING:
    from argparse import Action, Namespace

TIP = "\ntip: "
"""Begins what helps, after what is wrong, in the message of a UsageError."""

# What other programs call an option, and ours of that meaning where a command has one of them.
_MEANT = {
    "force": ("overwrite",),
    "j": ("num-workers",),
    "o": ("out", "output"),
    "jobs": ("num-workers",),
    "threads": ("num-workers",),
    "procs": ("num-workers",),
    "output": ("out",),
    "dest": ("out", "output"),
    "out": ("output",),
    "epochs": ("max-epochs",),
    "input": ("root",),
    "data": ("root", "store"),
    "limit": ("count",),
    "count": ("limit",),
    "filter": ("query",),
    "where": ("query",),
    "image-size": ("size",),
    "img-size": ("size",),
    "verbose": (),
    "silent": ("quiet",),
    "no-progress": ("quiet",),
    "colour": ("color",),
    "no-color": ("color",),
}
_KINDS = {"int": "a whole number", "float": "a number"}
_INVALID = re.compile(r"invalid (\w+) value: (.*)", re.DOTALL)
_MISSING = re.compile(r"the following arguments are required: (.*)")
_ONE_OF = re.compile(r"one of the arguments (.*) is required")


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors are a `UsageError` with a tip; no usage is printed.

    Args:
        prog: what is called, such as "lmdb-reid build".
        description: a phrase.
        usage: instead of the one that is made from the arguments.

    Attributes:
        tips: {what is missing or does not exist: what to write instead, a phrase}; a name that ends
            in a dot is the beginning of several.
    """

    def __init__(
        self,
        prog: str,
        description: str | None,
        *,
        usage: str | None = None,
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            formatter_class=_Formatter,
            allow_abbrev=False,  # or a new option could change what an old script means
            exit_on_error=False,
            add_help=False,
        )
        self.color = False  # Python 3.14's own, which knows nothing of --color
        self._positionals.title = "arguments"
        self.add_argument("-h", "--help", action="help", help="show this help")
        self.tips: Mapping[str, str] = {}

    def parsed(self, words: Sequence[str]) -> Namespace:
        """The arguments.

        Raises:
            UsageError: they are not valid arguments.
            SystemExit: help was printed.
        """
        options = words[: words.index("--") if "--" in words else len(words)]
        for word in [] if {"-h", "--help"} & {*options} else options:
            name = word.partition("=")[0]
            # First, for argparse would complain about what is missing for want of it.
            if name.startswith("--") and name not in self._option_string_actions:
                tip = self._tip(name)
                if tip:
                    self.fail(f"unknown option {name}", tip)
        try:
            found, rest = self.parse_known_args(words)
        except argparse.ArgumentError as error:
            self._explain(error)
        if rest:
            self._refuse(rest)
        return found

    def names(self) -> list[str]:
        """The options, short names too."""
        return [*self._option_string_actions]

    def error(self, message: str) -> NoReturn:
        """End with what argparse finds missing."""
        tip = ""
        if found := _MISSING.fullmatch(message):
            missing = [self._named(name.strip()) for name in found[1].split(",")]
            tip = self.tips.get(missing[0].split()[0], "")
            message = f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} required"
        elif found := _ONE_OF.fullmatch(message):
            message = f"one of {', '.join(map(self._named, found[1].split()))} is required"
        self.fail(message, tip)

    def fail(self, message: str, tip: str = "") -> NoReturn:
        """End with an error of these words.

        Raises:
            UsageError: always.
        """
        what = "options" if " " in self.prog else "commands"
        way = f"For all {what}: {self.prog} --help"
        raise UsageError(f"{message}{TIP}{tip}. {way}" if tip else f"{message}\n{way}")

    def print_help(self, file: Any = None) -> None:
        """Print the help text, its names in bold on a terminal."""
        stream: TextIO = sys.stdout if file is None else file
        print(_colour.help_text(self.format_help(), stream), end="", file=stream)

    def _check_value(self, action: Action, value: Any) -> None:
        """Refuse what is none of an option's choices, and name the nearest."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        near = nearest(str(value), choices)
        self.fail(
            f"{_short(action)} must be one of {', '.join(choices)}, got {value!r}",
            f"a similar value exists: {near}" if near else "",
        )

    def _explain(self, error: argparse.ArgumentError) -> NoReturn:
        name, message = error.argument_name, error.message
        if name is None:
            self.error(message)
        action = self._of(name)
        title = name if action is None else _short(action)
        if invalid := _INVALID.fullmatch(message):
            kind = _KINDS.get(invalid[1], f"a valid {invalid[1]}")
            self.fail(f"{title} must be {kind}, got {invalid[2]}")
        if message.startswith("expected"):
            how = title if action is None else self._name(action)
            self.fail(f"{title} needs a value: {how}")
        if message.startswith("not allowed with argument "):
            self.fail(f"{title} and {message.rpartition(' ')[2]} exclude each other")
        if message.startswith("ignored explicit argument "):
            self.fail(f"{title} takes no value, got {message.partition('argument ')[2]}")
        self.fail(f"{title} {message}" if message.startswith("must ") else f"{title}: {message}")

    def _refuse(self, rest: Sequence[str]) -> NoReturn:
        options = [word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"]
        if options:
            self.fail(f"unknown option {options[0]}", self._tip(options[0]))
        taken = [self._name(action) for action in self._get_positional_actions()]
        self.fail(
            f"unexpected argument {rest[0]!r}",
            f"the command is {self.prog} {' '.join([*taken, '[OPTIONS]'])}",
        )

    def _tip(self, option: str) -> str:
        """What helps with an option that does not exist; "" where nothing is known."""
        for name, tip in self.tips.items():
            if option == name or (name.endswith(".") and option.startswith(name)):
                return tip
        names = {
            name.lstrip("-"): name
            for name in self._option_string_actions
            if name.startswith("--") and name != "--help"
        }
        word = option.lstrip("-")
        for meant in _MEANT.get(word, ()):
            if meant in names:
                return f"a similar option exists: --{meant}"
        near = None if word in _MEANT else nearest(word, names)
        return f"a similar option exists: {names[near]}" if near else ""

    def _of(self, name: str) -> Action | None:
        """The argument that argparse calls so."""
        for action in self._actions:
            if name in ("/".join(action.option_strings), action.metavar, action.dest):
                return action
        return None

    def _named(self, name: str) -> str:
        action = self._of(name)
        return name if action is None else self._name(action)

    def _name(self, action: Action) -> str:
        """An argument as it is typed, with its value."""
        value = action.metavar or action.dest.upper()
        value = " ".join(value) if isinstance(value, tuple) else value
        if not action.option_strings:
            return value
        return _short(action) if action.nargs == 0 else f"{_short(action)} {value}"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves the description and the examples as they are, and fits narrow terminals."""

    def __init__(self, prog: str) -> None:
        width = shutil.get_terminal_size().columns - 2
        super().__init__(prog, max_help_position=min(26, max(8, width // 3)), width=width)


def _short(action: Action) -> str:
    """An option's long name, or what stands for an argument."""
    longest = max(action.option_strings, key=len, default="")
    return longest or str(action.metavar or action.dest)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
