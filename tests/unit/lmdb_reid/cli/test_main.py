from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from lmdb_reid._lazy import EXTRA_OF_MODULE
from lmdb_reid._version import __version__
from lmdb_reid.cli.main import GROUP, SUMMARIES, commands, main, with_hyphens

AddCommand = Callable[..., None]

ECHO = """
def configure(parser):
    parser.add_argument("words", nargs="*")
    parser.add_argument("--train-meta")
    parser.add_argument("--img-root")
    parser.epilog = "example:\\n  lmdb-reid echo --train-meta a.csv"

def run(args):
    print(args)
    return 0
"""


@pytest.fixture
def add_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AddCommand:
    """Installs a command: a module, and the metadata of a distribution that offers it."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name: str, source: str, module: str = "") -> None:
        module = module or f"command_{tmp_path.name}_{name}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{name}_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module}\n")

    return add


def raising(statement: str) -> str:
    return f"""
    from lmdb_reid import errors

    def configure(parser):
        pass

    def run(args):
        {statement}
    """


def python(code: str, *argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *argv],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    assert capsys.readouterr().out == f"lmdb-reid {__version__}\n"


def test_help_describes_every_command(
    capsys: pytest.CaptureFixture[str], add_command: AddCommand
) -> None:
    add_command("echo", ECHO)
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, summary in SUMMARIES.items():
        assert any(line.split() == [name, *summary.split()] for line in lines), name
    assert any(line.split() == ["echo", "a", "command", "of", "echo-plugin"] for line in lines)


def test_every_command_of_ours_has_a_summary_and_every_summary_a_command() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP].keys() == SUMMARIES.keys()
    installed = [name for name in SUMMARIES if entry_points(group=GROUP, name=name)]
    assert list(commands())[: len(installed)] == installed


def test_help_imports_no_command_and_nothing_heavy() -> None:
    done = python("""
        import sys
        from lmdb_reid._lazy import EXTRA_OF_MODULE
        from lmdb_reid.cli.main import commands, main
        assert main(["--help"]) == 0
        heavy = {"numpy", "lmdb", "msgpack", "simplejpeg", *EXTRA_OF_MODULE}
        heavy |= {entry.value for entry in commands().values()}
        print("loaded:", sorted(heavy & sys.modules.keys()))
    """)
    assert done.stdout.splitlines()[-1] == "loaded: []", done.stderr


def test_a_command_imports_no_other(add_command: AddCommand, tmp_path: Path) -> None:
    add_command("echo", ECHO)
    add_command("other", "raise SystemError('imported')")
    done = python(
        """
        import sys
        from lmdb_reid.cli.main import commands, main
        assert main(["echo"]) == 0
        loaded = {entry.value for entry in commands().values()} & sys.modules.keys()
        print("loaded:", sorted(loaded))
        """,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("loaded:")]
    assert line.endswith("_echo']")
    assert "," not in line


def test_without_a_command_it_shows_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "commands:" in shown.err


@pytest.mark.parametrize("option", ["--json", "--ver", "-x"])
def test_options_without_a_command_are_wrong_use(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([option]) == 2
    assert f"error: unknown option {option}\n" in capsys.readouterr().err


def test_an_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["biuld", "--out", "x"]) == 2
    err = capsys.readouterr().err
    assert err == (
        "lmdb-reid: error: unknown command 'biuld'\n"
        "tip: a similar command exists: build. For all commands: lmdb-reid --help\n"
    )


def test_an_unknown_command_like_no_other_gets_no_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    assert capsys.readouterr().err == (
        "lmdb-reid: error: unknown command 'xyzzy'\nFor all commands: lmdb-reid --help\n"
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--train_meta", "my_file.csv"], ["--train-meta", "my_file.csv"]),
        (["--img_root=a_b/c_d", "x_y"], ["--img-root=a_b/c_d", "x_y"]),
        (["--num_bg_per_frame=1"], ["--num-bg-per-frame=1"]),
        (["--out=--a_b"], ["--out=--a_b"]),
        (["-o", "a_b", "-a_b"], ["-o", "a_b", "-a_b"]),
        (["--a_b", "--", "--c_d", "--", "--e_f"], ["--a-b", "--", "--c_d", "--", "--e_f"]),
        ([], []),
    ],
)
def test_underscores_in_option_names(given: list[str], meant: list[str]) -> None:
    assert with_hyphens(given) == meant


def test_options_reach_the_command_in_either_spelling(
    add_command: AddCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    add_command("echo", ECHO)
    assert main(["echo", "--train_meta", "a_b", "--img-root=c_d", "--", "--e_f"]) == 0
    out = capsys.readouterr().out
    assert out == "Namespace(words=['--e_f'], train_meta='a_b', img_root='c_d')\n"


def test_a_commands_help_keeps_its_example(
    add_command: AddCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    add_command("echo", ECHO)
    assert main(["echo", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: lmdb-reid echo ")
    assert out.endswith("example:\n  lmdb-reid echo --train-meta a.csv\n")


@pytest.mark.parametrize("wrong", [["--nothing"], ["--train-meta"], ["--train", "x"]])
def test_wrong_arguments(
    wrong: list[str], add_command: AddCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    add_command("echo", ECHO)
    assert main(["echo", *wrong]) == 2
    assert "lmdb-reid echo: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statement", "code", "line"),
    [
        ("return 0", 0, ""),
        ("return 1", 1, ""),
        ("raise errors.UsageError('no such size')", 2, "no such size"),
        (
            "raise errors.MissingExtraError.of('cv2', 'resize', 'resizing')",
            2,
            'resizing needs cv2, which is not installed: pip install "lmdb_reid[resize]"',
        ),
        ("raise errors.StoreNotFoundError('no store at x')", 1, "no store at x"),
        ("raise errors.UnknownSampleError('no sample a#1')", 1, "no sample a#1"),
        ("raise errors.SourceError('two lines:\\n  second\\n')", 1, "two lines:; second"),
        ("raise errors.SourceError()", 1, "SourceError"),
        ("open('/no/such/file')", 1, "/no/such/file: No such file or directory"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("raise BrokenPipeError(32, 'a worker is gone')", 1, "a worker is gone"),
    ],
)
def test_exit_codes(
    statement: str,
    code: int,
    line: str,
    add_command: AddCommand,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LMDB_REID_TRACEBACK", raising=False)
    add_command("act", raising(statement))
    assert main(["act"]) == code
    shown = capsys.readouterr()
    mark = "" if code == 130 else "error: "
    assert shown.err == (f"lmdb-reid act: {mark}{line}\n" if line else "")
    assert shown.out == ""


def test_a_traceback_on_request(
    add_command: AddCommand,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LMDB_REID_TRACEBACK", "1")
    add_command("act", raising("raise errors.StoreNotFoundError('no store at x')"))
    assert main(["act"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("\nlmdb-reid act: error: no store at x\n")


def test_a_bug_is_not_dressed_up(add_command: AddCommand) -> None:
    add_command("act", raising("raise ZeroDivisionError"))
    with pytest.raises(ZeroDivisionError):
        main(["act"])


@pytest.mark.parametrize(("module", "extra"), sorted(EXTRA_OF_MODULE.items()))
@pytest.mark.parametrize("where", ["at import", "when run"])
def test_a_missing_package_names_its_extra(
    module: str,
    extra: str,
    where: str,
    add_command: AddCommand,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    source = f"import {module}.sub" if where == "at import" else raising(f"import {module}")
    add_command("act", source)
    assert main(["act"]) == 2
    assert capsys.readouterr().err == (
        f"lmdb-reid act: error: this command needs {module}, which is not installed: "
        f'pip install "lmdb_reid[{extra}]"\n'
    )


def test_a_missing_package_of_nobodys(
    add_command: AddCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    add_command("act", "import no_such_package_at_all")
    assert main(["act"]) == 1
    assert capsys.readouterr().err == (
        "lmdb-reid act: error: No module named 'no_such_package_at_all': "
        "install the package that brings it\n"
    )


def test_a_package_in_the_way_of_ours_sends_to_the_doctor(
    add_command: AddCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    add_command("act", "import builders.no_such_module")
    assert main(["act"]) == 1
    err = capsys.readouterr().err
    assert "hidden by another builders. Run lmdb-reid doctor" in err


def test_a_reader_that_goes_away_is_no_error(add_command: AddCommand, tmp_path: Path) -> None:
    add_command("talk", raising("print('line\\n' * 100_000)"))
    child = subprocess.Popen(
        [sys.executable, "-m", "lmdb_reid.cli", "talk"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert child.stdout is not None
    assert child.stderr is not None
    with child:
        assert child.stdout.readline() == b"line\n"
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 141


def test_not_installed_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lmdb_reid.cli._commands.entry_points", lambda group: ())
    assert main(["info"]) == 2
    assert "is not installed: pip install -e ." in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "is not installed: pip install -e ." in capsys.readouterr().out
