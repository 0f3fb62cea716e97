"""Several stores as one, without a copy of their pictures."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lmdb_reid import _disk
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import MAX_ID_BYTES
from lmdb_reid.store import _format, _places, _sealing
from lmdb_reid.store._column_files import Column
from lmdb_reid.store._columns_builder import write_column
from lmdb_reid.store._join_plan import JoinPlan, plan_join
from lmdb_reid.store._joined import Values, join, join_ids
from lmdb_reid.store._manifest import Manifest
from lmdb_reid.store._specs import PART_NAME, ColumnSpec, PartSpec
from lmdb_reid.store._store import Store
from lmdb_reid.store._write_failures import writing

_ADVICE = "Nothing of the merge is kept: free some space, then merge again"
_COPIED = ("kind", "crc32", "record_crc32", "image_size", "record_size", "width", "height")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A store to be merged."""

    store: Store
    name: str
    label_offset: int
    order_offset: int

    @property
    def prefix(self) -> bytes:
        return f"{self.name}/".encode() if self.name else b""


@known_arguments()
def merge(
    stores: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    same_identities: bool = False,
    absolute: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a store whose samples are those of several, one after the other: joined columns, and a
    manifest that names their data files. No picture is copied, and none is read.

    Args:
        stores: paths of sealed stores; those of merged ones will do.
        out: where the new store will be.
        names: of each store, in front of its ids (`name/key`) (default: the folder's stem). ""
            for all of them keeps the ids as they are, for shards of one build.
        same_identities: a label means the same person in all of them; otherwise those of each
            store are moved past those of the ones before.
        absolute: note where the data files are from the root, not from the new store.
        overwrite: replace a store at `out`.

    Returns:
        The path of the new store.

    Raises:
        UsageError: fewer than two stores, one twice, names that are none or the same, ids without
            names that do not ascend from store to store, labels that cannot be kept apart.
        StoreError: one cannot be read, or the new one cannot be written.
    """
    try:
        path = Path(out).resolve()
        is_own = any(Path(each).resolve() == path for each in stores)
    except ValueError:
        raise UsageError(f"paths must be without NUL, got {[*stores, out]}") from None
    if is_own:
        raise UsageError(f"{path} cannot be merged into itself. Choose another --out")
    with contextlib.ExitStack() as opened:
        found = [opened.enter_context(Store(each)) for each in stores]
        members = _members(found, _checked_names(found, names), same_identities=same_identities)
        opened.enter_context(writing(path, advice=_ADVICE))
        claim = _places.claimed(path, resume=False, overwrite=overwrite)
        _, overwrite = opened.enter_context(claim)
        partial = _format.partial_of(path)
        try:
            manifest = _written(partial, path, members, absolute=absolute)
            draft = partial / _places.WORK / f"{_format.MANIFEST}.draft"
            _disk.write_whole(partial / _format.MANIFEST, manifest.bytes(), draft=draft)
            _disk.remove(partial / _places.WORK)
            _disk.sync(partial)
            _places.give_name(path, overwrite=overwrite)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one that counts
                _disk.remove(partial)
            raise
    return path


def _checked_names(stores: Sequence[Store], names: Sequence[str] | None) -> list[str]:
    if len(stores) < 2:
        raise UsageError(f"a merge needs two stores or more, got {len(stores)}")
    chosen = [_stem(store.path) for store in stores] if names is None else list(names)
    if len(chosen) != len(stores):
        raise UsageError(f"names must be as many as stores, got {len(chosen)} for {len(stores)}")
    for name in chosen:
        if not PART_NAME.fullmatch(name) or "/" in name:
            raise UsageError(
                f"a part's name must be 1 to 64 letters, digits, '_', '-' and '.', got {name!r}"
            )
    if not any(chosen):
        _check_ascending(stores)
        return chosen
    for at, name in enumerate(chosen):
        if not name:
            raise UsageError(
                "either all stores must have names, or none. Name each one with --name"
            )
        if (first := chosen.index(name)) != at:
            if stores[first].path.resolve() == stores[at].path.resolve():
                raise UsageError(
                    f"a store must be merged once, got {stores[at].path} twice. Remove one of the"
                    " two; another name (--name NAME=STORE) does not make it another store"
                )
            raise UsageError(
                f"parts must have different names; {stores[first].path} and {stores[at].path} are"
                f" both {name!r}. Name one of them with --name NAME={stores[at].path} (names=)"
            )
    return chosen


def _stem(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem)[:64].lstrip(".") or "store"


def _check_ascending(stores: Sequence[Store]) -> None:
    for store in stores:
        if any(part.name for part in store.manifest.parts):
            raise UsageError(f"{store.path} has parts with names. Name it too, with --name")
    for one, other in itertools.pairwise(stores):
        if one.ids.key(len(one) - 1) >= other.ids.key(0):
            raise UsageError(
                "stores without names must have ids that ascend from one to the next:"
                f" {one.path} ends with {one.ids[-1]!r}, {other.path} begins with"
                f" {other.ids[0]!r}. List them in that order, or use --name"
            )


def _members(
    stores: Sequence[Store], names: Sequence[str], *, same_identities: bool
) -> list[_Member]:
    seen: dict[str, Path] = {}
    members: list[_Member] = []
    label_offset = order_offset = 0
    for store, name in zip(stores, names, strict=True):
        for part in store.manifest.parts:
            earlier = seen.setdefault(part.digest, store.path)
            if earlier is not store.path:
                raise UsageError(
                    f"{earlier} and {store.path} hold the same part. Merge only one of them"
                )
        if store.roles.identity != "label" and not same_identities:
            raise UsageError(
                f"{store.path} has identities in {store.roles.identity!r}, which cannot be"
                " kept apart. Use --same-identities"
            )
        member = _Member(
            store=store, name=name, label_offset=label_offset, order_offset=order_offset
        )
        members.append(member)
        longest = int(np.diff(member.store.ids.maps()[1]).max()) + len(member.prefix)
        if longest > MAX_ID_BYTES:
            raise UsageError(
                f"ids must have at most {MAX_ID_BYTES} bytes, got {longest} with the name"
                f" {name!r} of {store.path}. Choose a shorter name"
            )
        if not same_identities:
            label_offset += int(store.columns["label"].max()) + 1
        order_offset += int(store.columns["src_order"].max()) + 1
    if max(label_offset, order_offset) >= 1 << 62:
        raise UsageError(
            f"labels must stay below 2^62 to be kept apart, got {label_offset}. Use"
            " --same-identities"
        )
    return members


def _written(partial: Path, path: Path, members: Sequence[_Member], *, absolute: bool) -> Manifest:
    """Write the joined columns into `partial`; returns the manifest of the store at `path`."""
    stores = [member.store for member in members]
    plan = plan_join([store.manifest for store in stores])
    folder = partial / _format.COLUMNS
    _disk.make_folder(folder)
    core = _core(members)
    columns = {name: write_column(folder, name, core[name]) for name in _format.CORE_COLUMNS}
    for column in plan.columns:
        sources = [
            None if name is None else Values(store.columns[name], store.columns.categories(name))
            for store, name in zip(stores, column.sources, strict=True)
        ]
        joined = join(sources, list(map(len, stores)))
        spec = write_column(folder, column.name, *joined)
        columns[column.name] = replace(spec, field=column.field, derived=column.derived)
    _disk.sync(folder)
    parts = tuple(_parts(members, plan, path, absolute=absolute))
    digests = (int(part.digest, 16) for part in parts)
    return Manifest(
        samples=sum(map(len, stores)),
        kinds=_sealing.kinds_of(core["kind"]),
        identities=_sealing.identities_of(core["label"]),
        size=_sealing.size_of(core["height"], core["width"]),
        digest=f"{sum(digests) % (1 << 256):064x}",
        columns=columns,
        roles=plan.roles,
        parts=parts,
        build=_common([store.manifest.build for store in stores]),
        source={"merged": [str(store.path) for store in stores]} | _sealing.provenance(),
    )


def _core(members: Sequence[_Member]) -> dict[str, Column]:
    """The columns that every store has, in the order of the members."""
    stores = [member.store for member in members]
    text, offsets = join_ids(
        [
            (np.asarray(store.ids.maps()[0]), np.asarray(store.ids.maps()[1]), member.prefix)
            for store, member in zip(stores, members, strict=True)
        ]
    )
    core: dict[str, Column] = {_format.ID_COLUMN: text, _format.ID_OFFSETS_COLUMN: offsets}
    for name in _COPIED:
        core[name] = np.concatenate([store.columns[name] for store in stores])
    for name, moves in (
        ("label", [member.label_offset for member in members]),
        ("src_order", [member.order_offset for member in members]),
    ):
        moved = []
        for store, move in zip(stores, moves, strict=True):
            values = store.columns[name]
            moved.append(np.where(values < 0, values, values + move))
        core[name] = np.concatenate(moved)
    return core


def _parts(
    members: Sequence[_Member], plan: JoinPlan, path: Path, *, absolute: bool
) -> Iterator[PartSpec]:
    first = 0
    for at, member in enumerate(members):
        specs = member.store.manifest.columns
        for part, file in zip(member.store.manifest.parts, member.store.part_files(), strict=True):
            fields: dict[str, str | None] = {}
            for column in plan.columns:
                source = column.sources[at]
                spec: ColumnSpec | None = specs[source] if source is not None else None
                fields |= column.fields_of(at, spec, part)
            there = file.resolve()
            yield replace(
                part,
                path=str(there) if absolute else os.path.relpath(there, path),
                name="/".join(filter(None, (member.name, part.name))),
                first=first,
                label_offset=part.label_offset + member.label_offset,
                fields=fields,
            )
            first += part.count


def _common(builds: Sequence[Any]) -> dict[str, Any]:
    """The settings that all builds share."""
    one, *others = builds
    return {
        name: value
        for name, value in one.items()
        if all(name in other and other[name] == value for other in others)
    }
