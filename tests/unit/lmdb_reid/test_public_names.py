from __future__ import annotations

import ast
import importlib
import importlib.resources
import pkgutil
import re
import textwrap
import tomllib
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import lmdb_reid
from lmdb_reid._lazy import EXTRAS

ROOTS = ("lmdb_reid", "builders", "training")
PACKAGES = [
    *ROOTS,
    *(
        module.name
        for root in ROOTS
        for module in pkgutil.walk_packages(importlib.import_module(root).__path__, f"{root}.")
        if module.ispkg
    ),
]
LAZY = [name for name in PACKAGES if "lazy_names" in vars(importlib.import_module(name))]

BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def without(*packages: str) -> str:
    """The start of a script in which these packages are not installed."""
    return BLOCK.format(blocked=set(packages))


def is_public(module: types.ModuleType, name: str) -> bool:
    return not (name.startswith("_") or isinstance(getattr(module, name), types.ModuleType))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_public_list_is_the_namespace(package: str) -> None:
    module = importlib.import_module(package)
    listed = getattr(module, "__all__", [])
    assert len(set(listed)) == len(listed)
    there = {name for name in dir(module) if is_public(module, name)}
    assert {name for name in listed if not name.startswith("__")} == there


@pytest.mark.parametrize("package", ROOTS)
def test_the_names_are_sorted(package: str) -> None:
    def as_ruff_sorts(name: str) -> tuple[bool, bool, str]:  # constants, classes, functions
        return not name.isupper(), not name[0].isupper(), name

    assert (listed := importlib.import_module(package).__all__) == sorted(listed, key=as_ruff_sorts)


def test_the_three_packages_load_their_names_when_asked() -> None:
    assert set(LAZY) >= set(ROOTS)


@pytest.mark.parametrize("package", LAZY)
def test_what_a_checker_sees_is_what_is_imported_when_asked(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__
    tree = ast.parse(Path(module.__file__).read_text())
    seen = {
        alias.name: found.module
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for found in block.body
        if isinstance(found, ast.ImportFrom)
        for alias in found.names
    }
    assert sorted(seen) == dir(module)
    for name, origin in seen.items():
        assert getattr(module, name) is getattr(importlib.import_module(origin), name)


def test_tab_shows_the_names_before_they_are_asked_for(run_python: Callable[..., str]) -> None:
    shown = run_python("import lmdb_reid, sys; print('torch' in sys.modules, *dir(lmdb_reid))")
    assert shown.split() == ["False", *sorted(set(lmdb_reid.__all__) - {"__version__"})]


def test_an_extra_brings_what_the_table_says() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    for extra, modules in EXTRAS.items():
        named = {
            re.split(r"[\[>=]|-python", line)[0] for line in project["optional-dependencies"][extra]
        } - {"lmdb_reid"}
        assert set(modules.values()) == named, extra


@pytest.mark.parametrize("name", lmdb_reid.__all__)
def test_every_public_thing_says_what_it_is(name: str) -> None:
    thing = getattr(lmdb_reid, name)
    assert name == "__version__" or thing.__doc__


def test_no_other_name_is_made_up() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Reader'"):
        lmdb_reid.Reader  # noqa: B018  # asking for it is the test


def test_the_package_is_typed() -> None:
    assert importlib.resources.files("lmdb_reid").joinpath("py.typed").is_file()


def test_importing_loads_nothing_heavy(run_python: Callable[..., str]) -> None:
    loaded = run_python(
        "import lmdb_reid, sys; print(*{name.split('.')[0] for name in sys.modules})"
    )
    assert not {"torch", "pandas", "lightning", "torchvision", "matplotlib"} & set(loaded.split())


def test_a_store_is_read_with_the_base_packages_alone(
    run_python: Callable[..., str], store_path: Path
) -> None:
    script = without("torch", "pandas", "PIL", "cv2", "lightning", "tqdm") + textwrap.dedent("""
        from lmdb_reid import Store
        with Store(sys.argv[1]) as store:
            print(len(store), store["f000#001"].image.shape, store.verify(deep=True).ok)
    """)
    assert run_python(script, store_path) == "8 (32, 16, 3) True\n"


@pytest.mark.parametrize(
    ("package", "extra", "statement"),
    [
        ("torch", "torch", "lmdb_reid.ReIDDataset"),
        ("torch", "torch", "lmdb_reid.make_loader"),
        ("torch", "torch", "from lmdb_reid import Batch"),
        ("pandas", "notebook", "lmdb_reid.Store(sys.argv[1]).to_pandas()"),
        ("pandas", "notebook", "lmdb_reid.Store(sys.argv[1]).query('label == 1')"),
        ("cv2", "resize", "lmdb_reid.codec.resize(pixels, (4, 4))"),
        ("PIL", "notebook", "lmdb_reid.Store(sys.argv[1]).sheet([0])"),
        ("PIL", "build", "lmdb_reid.codec.probe(b'BM' + bytes(60))"),
    ],
)
def test_a_missing_package_is_told_with_its_pip_line(
    package: str, extra: str, statement: str, run_python: Callable[..., str], store_path: Path
) -> None:
    script = without(package) + textwrap.dedent(f"""
        import numpy as np
        import lmdb_reid
        import lmdb_reid.codec
        from lmdb_reid.errors import MissingExtraError
        pixels = np.zeros((8, 8, 3), np.uint8)
        try:
            {statement}
        except MissingExtraError as error:
            print(error)
    """)
    assert f'pip install "lmdb_reid[{extra}]"' in run_python(script, store_path)


def test_an_error_inside_torch_is_not_taken_for_its_absence(run_python: Callable[..., str]) -> None:
    script = without("torch.utils") + textwrap.dedent("""
        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name == "torch":
                    raise ImportError("libc10.so: cannot open", name="libc10")

        sys.meta_path.insert(0, Broken())
        import lmdb_reid
        try:
            lmdb_reid.ReIDDataset
        except ImportError as error:
            print(type(error).__name__, error)
    """)
    assert run_python(script) == "ImportError libc10.so: cannot open\n"
