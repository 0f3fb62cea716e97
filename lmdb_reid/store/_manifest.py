"""The manifest of a store: what the rest of it has to be. docs/format.md is the specification."""

from __future__ import annotations

import builtins
import contextlib
import itertools
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from lmdb_reid import _json
from lmdb_reid._regular import read_limited
from lmdb_reid.errors import (
    StoreDamagedError,
    StoreNotFoundError,
    StoreVersionError,
    UnsupportedError,
    UsageError,
)
from lmdb_reid.schema import MAX_ID_BYTES, Kind, Roles, Size
from lmdb_reid.store._format import (
    CORE_COLUMNS,
    DATA,
    FORMAT,
    ID_COLUMN,
    ID_OFFSETS_COLUMN,
    MANIFEST,
    MAX_SIDE,
    PARTIAL_SUFFIX,
    VERSION,
    partial_of,
)
from lmdb_reid.store._passing import passing
from lmdb_reid.store._specs import (
    COLUMN_NAME,
    DIGEST,
    MOST,
    ColumnSpec,
    PartSpec,
    check_parts,
    check_roles,
    column_of,
    part_of,
    plain_column,
    plain_part,
    plain_roles,
    roles_of,
)

MAX_BYTES = 1 << 20
"""Most bytes of a manifest."""
_LISTED = 100  # entries of a directory that are looked at for a store


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a store says of itself.

    Fields that this version does not know are ignored, here and in what it holds.
    """

    version: tuple[int, int] = VERSION
    samples: int
    kinds: Mapping[str, int]
    """How many samples of each kind there are, by name."""
    identities: int
    """How many distinct labels from 0 up."""
    size: Size | None
    """(height, width) if all images have one size."""
    digest: str
    """The content digest: the sum of those of the parts."""
    columns: Mapping[str, ColumnSpec]
    """Column files by name, the two that hold the ids included."""
    roles: Roles
    parts: tuple[PartSpec, ...]
    """The data files, in row order."""
    build: Mapping[str, Any]
    """The settings that decided the content."""
    source: Mapping[str, Any]
    """Where it came from, for people."""

    if not TYPE_CHECKING:  # or type checkers would take it

        def __getitem__(self, name: str) -> Never:
            raise UnsupportedError(f"a manifest has fields, got [{name!r}]. Use manifest.{name}.")

    @property
    def fingerprint(self) -> str:
        """What tells this store from every other: its digest, and the order and names of parts."""
        if len(self.parts) == 1 and not self.parts[0].name:
            return self.digest
        order = [[part.name, part.digest, part.label_offset] for part in self.parts]
        return f"{self.digest}-{zlib.crc32(json.dumps(order).encode()):08x}"

    @classmethod
    def parse(cls, data: builtins.bytes) -> Manifest:
        """The manifest that a file of these bytes holds.

        Raises:
            StoreVersionError: another format or major version.
            StoreDamagedError: no manifest, or one that was changed or contradicts itself.
        """
        if len(data) > MAX_BYTES:
            raise StoreDamagedError(f"it has {len(data):,} bytes; {MAX_BYTES:,} are allowed")
        try:
            raw = _json.parse(data)
            found, version = raw["format"], tuple(raw["version"])
        except (ValueError, TypeError, KeyError) as error:
            raise StoreDamagedError(
                f"it is not a valid manifest: {type(error).__name__}: {error}"
            ) from None
        if found != FORMAT or version[:1] != VERSION[:1] or isinstance(version[0], bool):
            raise StoreVersionError(
                f"it is written in {found} format {'.'.join(map(str, version))}; this code reads"
                f" {FORMAT} {VERSION[0]}.x: another release of lmdb_reid is needed"
            )
        pinned = raw.pop("crc32", None)
        if pinned != _crc(raw):
            raise StoreDamagedError("it was changed after sealing (its own crc32 differs)")
        try:
            return _checked(_parsed(_json.Fields(raw, "")))
        except ValueError as error:
            raise StoreDamagedError(f"it contradicts the format: {error}") from None

    def bytes(self) -> builtins.bytes:
        """The manifest as its file holds it: JSON, with a checksum over itself.

        Raises:
            UsageError: it would be larger than a reader takes.
        """
        fields = _plain(self)
        text = json.dumps(fields | {"crc32": _crc(fields)}, indent=1, ensure_ascii=False)
        data = _utf8(text) + b"\n"
        if len(data) > MAX_BYTES:
            raise UsageError(
                f"a manifest must have at most {MAX_BYTES:,} bytes, got {len(data):,} for"
                f" {len(self.columns):,} columns and {len(self.parts):,} parts. Reduce the"
                " columns, the settings or the source"
            )
        return data


def read_manifest(path: Path) -> Manifest:
    """The manifest of the store at `path`.

    Raises:
        StoreNotFoundError: no sealed store there; says if an unfinished build is.
        StoreVersionError, StoreDamagedError: as `Manifest.parse`.
    """
    file = path / MANIFEST
    try:
        return Manifest.parse(read_limited(file, MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreNotFoundError(_why_not_found(path), path=path) from None
    except OSError as error:
        raise passing(file, error) or StoreDamagedError(
            f"{file} cannot be read: {error.strerror}", path=path
        ) from None
    except StoreVersionError as error:
        raise StoreVersionError(f"{file}: {error}", path=path) from None
    except ValueError as error:
        raise StoreDamagedError(f"{file}: {error}", path=path) from None


def _parsed(raw: _json.Fields) -> Manifest:
    kinds, columns, size = raw.inner("kinds"), raw.inner("columns"), None
    for name in (*columns.items(), *kinds.items()):
        if not COLUMN_NAME.fullmatch(name):
            raise ValueError(f"a name must be like {COLUMN_NAME.pattern}, got {name[:80]!r}")
    version = raw.items()["version"]
    if len(version) != 2 or not all(type(number) is int for number in version):
        raise ValueError(f"version must be [major, minor], got {version!r}"[:200])
    if raw.items().get("size", 0) is not None:
        sides = _json.Fields(dict(enumerate(_list_of(raw, "size", 2))), "size")
        size = sides.integer(0, MAX_SIDE, 1), sides.integer(1, MAX_SIDE, 1)  # type: ignore[arg-type]  # a list's places
    return Manifest(
        version=(version[0], version[1]),
        samples=raw.integer("samples", MOST, 1),
        kinds={name: kinds.integer(name, MOST) for name in kinds.items()},
        identities=raw.integer("identities", MOST),
        size=size,
        digest=raw.text("digest", DIGEST),
        columns={name: column_of(name, columns.inner(name)) for name in columns.items()},
        roles=roles_of(raw.inner("roles")),
        parts=tuple(map(part_of, raw.maps("parts"))),
        build=raw.inner("build").items(),
        source=raw.inner("source").items(),
    )


def _list_of(raw: _json.Fields, name: str, length: int) -> list[Any]:
    value = raw.items().get(name)
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{name} must be null or a list of {length}, got {value!r}"[:200])
    return value


def _checked(found: Manifest) -> Manifest:
    """Refuse counts, roles and parts that are not those of one store."""
    check_roles(found.roles, found.columns)
    for name in CORE_COLUMNS:
        if name not in found.columns:
            raise ValueError(f"it lacks the column {name!r}")
    for name, spec in found.columns.items():
        wanted = {ID_COLUMN: spec.length, ID_OFFSETS_COLUMN: found.samples + 1}
        if spec.length != wanted.get(name, found.samples):
            raise ValueError(f"column {name!r} has {spec.length} entries of {found.samples}")
    if found.columns[ID_COLUMN].length > found.samples * MAX_ID_BYTES:
        raise ValueError(f"its ids are longer than {MAX_ID_BYTES} bytes")
    if unknown := found.kinds.keys() - {kind.title for kind in Kind}:
        raise ValueError(f"kinds must be among {', '.join(k.title for k in Kind)}, got {unknown}")
    if found.identities > found.samples:
        raise ValueError(f"identities must be 0 to {found.samples}, got {found.identities}")
    if sum(found.kinds.values()) != found.samples:
        raise ValueError(f"its kinds must have {found.samples} samples in total")
    check_parts(found.parts)
    if sum(part.count for part in found.parts) != found.samples:
        raise ValueError(f"its parts must have {found.samples} samples in total")
    total = sum(int(part.digest, 16) for part in found.parts) % (1 << 256)
    if f"{total:064x}" != found.digest:
        raise ValueError("its digest is not the sum of its parts' digests")
    return found


def _plain(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": list(manifest.version),
        "samples": manifest.samples,
        "kinds": dict(manifest.kinds),
        "identities": manifest.identities,
        "size": list(manifest.size) if manifest.size else None,
        "digest": manifest.digest,
        "columns": {name: plain_column(spec) for name, spec in manifest.columns.items()},
        "roles": plain_roles(manifest.roles),
        "parts": [plain_part(part) for part in manifest.parts],
        "build": dict(manifest.build),
        "source": dict(manifest.source),
    }


def _crc(fields: Mapping[str, Any]) -> int:
    return zlib.crc32(_utf8(json.dumps(fields, sort_keys=True, ensure_ascii=False)))


def _utf8(text: str) -> builtins.bytes:
    # A path that is no utf-8 has lone surrogates, which JSON writes as escapes.
    return text.encode("utf-8", "backslashreplace")


def _why_not_found(path: Path) -> str:
    if not path.name.endswith(PARTIAL_SUFFIX) and partial_of(path).is_dir():
        return (
            f"no store at {path}, but an unfinished build: {partial_of(path)} (build with"
            f" --resume to finish it)"
        )
    if (path / DATA).exists() or path.suffix == ".mdb":
        return (
            f"{path} holds LMDB data but no {MANIFEST}: not a sealed store. Use the"
            " store's directory"
        )
    if not path.exists():
        return f"no store at {path}: there is nothing of that name"
    if not path.is_dir():
        return f"no store at {path}: it is a file, and a store is a directory"
    return f"no store at {path}: the directory has no {MANIFEST}.{_stores_inside(path)}"


def _stores_inside(path: Path) -> str:
    """A sentence that names the first store in a directory, if one is there."""
    with contextlib.suppress(OSError):  # it may not be listed
        for inner in sorted(itertools.islice(path.iterdir(), _LISTED)):
            if (inner / MANIFEST).is_file():
                return f" Did you mean {str(inner)!r}?"
    return ""
