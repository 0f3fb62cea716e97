"""What a manifest says of columns, data files and roles, and how it says it in JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lmdb_reid._json import Fields
from lmdb_reid.schema import Roles
from lmdb_reid.store._format import CORE_COLUMNS, FIELD_DTYPES, ID_COLUMN, ID_OFFSETS_COLUMN

MOST = 1 << 48  # entries, bytes and transactions of anything that fits on a disk
COLUMN_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}"
PART_NAME = re.compile(rf"({_SEGMENT}(/{_SEGMENT})*)?")
DIGEST = re.compile(r"[0-9a-f]{64}")
_CRC = (1 << 32) - 1
_ANY = re.compile(r"(?s).*")
# Lone surrogates stand for bytes of a name that are no utf-8: U+DC80 to U+DCFF, and no others.
_PATH = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udc7f\udd00-\udfff]{1,4096}")
MAX_CATEGORIES = 1 << 30
"""Most bytes of a column's strings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSpec:
    """What a manifest says of one column file."""

    dtype: str
    """NumPy's, such as "<i8"."""
    length: int
    crc32: int
    categories: int | None = None
    """How many strings its codes stand for; None where it holds numbers."""
    categories_size: int = 0
    """Bytes of the file that holds them."""
    categories_crc32: int = 0
    field: str | None = None
    """The field of the records, where its name differs from the column's."""
    derived: bool = False
    """Whether it was computed from the pictures, and is no field of records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """What a manifest says of one data file and its samples."""

    path: str
    """Of the file, as the manifest has it: from the store's directory, or absolute."""
    name: str = ""
    """An id of a named part is `name/key`; without a name it is the key."""
    first: int = 0
    """Its first row in the store."""
    count: int
    """How many samples it has."""
    size: int
    """Bytes of the file."""
    last_page: int
    last_transaction: int
    digest: str
    """The content digest of its samples: with a row in the part, the name of a sample's pixels
    wherever the part is used.
    """
    crc32: int | None = None
    """Of the whole file; compared by `verify` alone."""
    label_offset: int = 0
    """What is added to its labels from 0 up."""
    fields: Mapping[str, str | None] = field(default_factory=dict)
    """Columns that hold a field of another name here, or None where this part has none."""


def column_of(name: str, raw: Fields) -> ColumnSpec:
    """The column that a JSON map describes.

    Raises:
        ValueError: it describes none.
    """
    codes = raw.inner("categories") if "categories" in raw else None
    spec = ColumnSpec(
        dtype=raw.text("dtype", _ANY),
        length=raw.integer("length", MOST),
        crc32=raw.integer("crc32", _CRC),
        categories=codes.integer("length", raw.integer("length", MOST)) if codes else None,
        categories_size=codes.integer("size", MAX_CATEGORIES) if codes else 0,
        categories_crc32=codes.integer("crc32", _CRC) if codes else 0,
        field=raw.text("field", _ANY) if "field" in raw else None,
        derived=raw.items().get("derived") is True,
    )
    core = CORE_COLUMNS.get(name)
    allowed = {core} if core else {"<i4"} if codes else FIELD_DTYPES
    if spec.dtype not in allowed:
        raise ValueError(
            f"column {name!r} must be of dtype {' or '.join(sorted(allowed))}, got {spec.dtype!r}"
        )
    return spec


def part_of(raw: Fields) -> PartSpec:
    """The data file that a JSON map describes.

    Raises:
        ValueError: it describes none.
    """
    fields = raw.inner("fields") if "fields" in raw else Fields({}, "fields")
    count = raw.integer("count", MOST, 1)
    for name in ("images", "records"):
        if raw.integer(name, MOST) != count:
            raise ValueError(f"{raw.where} has {raw.items()[name]} {name} of {count} samples")
    return PartSpec(
        path=raw.text("path", _PATH),
        name=raw.text("name", PART_NAME) if "name" in raw else "",
        first=raw.integer("first", MOST),
        count=count,
        size=raw.integer("size", MOST),
        last_page=raw.integer("last_page", MOST),
        last_transaction=raw.integer("last_transaction", MOST),
        digest=raw.text("digest", DIGEST),
        crc32=raw.integer("crc32", _CRC) if "crc32" in raw else None,
        label_offset=raw.integer("label_offset", (1 << 63) - 1) if "label_offset" in raw else 0,
        fields={
            name: fields.text(name, _ANY) if name in fields else None for name in fields.items()
        },
    )


def roles_of(raw: Fields) -> Roles:
    """The roles that a JSON map describes.

    Raises:
        ValueError: it describes none.
    """
    one = {
        name: raw.text(name, COLUMN_NAME) if name in raw else None
        for name in ("camera", "split", "track")
    }
    return Roles(
        identity=raw.text("identity", COLUMN_NAME),
        group=raw.texts("group", COLUMN_NAME),
        time=raw.texts("time", COLUMN_NAME),
        **one,
    )


def check_roles(roles: Roles, columns: Mapping[str, object]) -> None:
    """Every role has to name a column.

    Raises:
        ValueError: one does not.
    """
    named = {"group": roles.group, "time": roles.time} | {
        name: (value,)
        for name in ("identity", "camera", "split", "track")
        if (value := getattr(roles, name)) is not None
    }
    for role, names in named.items():
        for name in names:
            if name not in columns or name in (ID_COLUMN, ID_OFFSETS_COLUMN):
                raise ValueError(f"the role {role!r} must name a column, got {name!r}")


def check_parts(parts: tuple[PartSpec, ...]) -> None:
    """Parts follow each other, none is there twice, and no two ids can be the same.

    Raises:
        ValueError: they do not.
    """
    first = 0
    groups: list[str] = []
    for at, part in enumerate(parts):
        if part.first != first:
            raise ValueError(f"parts[{at}] begins at row {part.first}, not {first}")
        first += part.count
        if not groups or groups[-1] != part.name:
            groups.append(part.name)
    for name in ("path", "digest"):
        seen: dict[str, int] = {}
        for at, part in enumerate(parts):
            if (earlier := seen.setdefault(getattr(part, name), at)) != at:
                raise ValueError(
                    f"parts[{earlier}] and parts[{at}] have one {name}: {getattr(part, name)!r}"
                )
    known = set(groups)
    if len(known) < len(groups) or ("" in known and len(groups) > 1):
        raise ValueError("parts of one name must follow each other, and all or none have names")
    for name in groups:
        for at in (at for at, letter in enumerate(name) if letter == "/"):
            if name[:at] in known:
                raise ValueError(
                    f"the part names {name[:at]!r} and {name!r} can lead to the same id"
                )


def plain_column(spec: ColumnSpec) -> dict[str, Any]:
    """A column as the manifest has it."""
    plain: dict[str, Any] = {"dtype": spec.dtype, "length": spec.length, "crc32": spec.crc32}
    if spec.categories is not None:
        plain["categories"] = {
            "length": spec.categories,
            "size": spec.categories_size,
            "crc32": spec.categories_crc32,
        }
    plain |= {"field": spec.field} if spec.field is not None else {}
    return plain | ({"derived": True} if spec.derived else {})


def plain_part(part: PartSpec) -> dict[str, Any]:
    """A data file as the manifest has it."""
    fields: dict[str, Any] = {"path": part.path}
    fields |= {"name": part.name} if part.name else {}
    fields |= {
        "first": part.first,
        "count": part.count,
        "images": part.count,
        "records": part.count,
        "size": part.size,
        "last_page": part.last_page,
        "last_transaction": part.last_transaction,
        "digest": part.digest,
    }
    fields |= {"crc32": part.crc32} if part.crc32 is not None else {}
    fields |= {"label_offset": part.label_offset} if part.label_offset else {}
    fields |= {"fields": dict(part.fields)} if part.fields else {}
    return fields


def plain_roles(roles: Roles) -> dict[str, Any]:
    """Roles as the manifest has them."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(roles).items()
    }
