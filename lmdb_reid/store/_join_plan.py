"""Which columns of several stores become one, and which roles they have then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmdb_reid.schema import Roles
from lmdb_reid.store._columns_builder import free_name
from lmdb_reid.store._format import CORE_COLUMNS
from lmdb_reid.store._manifest import Manifest
from lmdb_reid.store._specs import ColumnSpec, PartSpec

_SINGLE = ("camera", "split", "track")
_MANY = ("group", "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedColumn:
    """A column of a merged store."""

    name: str
    sources: tuple[str | None, ...]
    """The column of each store that it comes from, or None."""
    field: str | None
    """The field of records that it holds where a part does not say otherwise."""
    derived: bool = False
    is_role: bool = False
    """Whether it was made for a role that the stores call differently."""

    def fields_of(
        self, store: int, spec: ColumnSpec | None, part: PartSpec
    ) -> dict[str, str | None]:
        """What a part says of this column: nothing, or the field that its records have for it."""
        if self.derived:
            return {}
        source = self.sources[store]
        wanted = self.field or self.name
        if source is None or spec is None:
            return {self.name: None} if self.is_role else {}
        found = part.fields.get(source, spec.field or source)
        return {} if found == wanted else {self.name: found}


@dataclass(slots=True)
class JoinPlan:
    """The columns of a merged store beside those that every store has, and its roles."""

    columns: list[JoinedColumn] = field(default_factory=list)
    roles: Roles = field(default_factory=Roles)


def plan_join(manifests: Sequence[Manifest]) -> JoinPlan:
    """Columns are joined by the field that they hold. A role that the stores call differently, or
    that one lacks whose column of that name is something else, becomes a column of the role's
    name; a column that was nothing but such a role's source in every store is not repeated.
    """
    asked = {
        role: [getattr(manifest.roles, role) for manifest in manifests]
        for role in (*_SINGLE, *_MANY)
    }
    made: list[tuple[str, tuple[str | None, ...]]] = []  # columns for roles, and their sources
    roles: dict[str, str | tuple[str, ...] | None] = {}
    for role in _SINGLE:
        one = _one_role(role, asked[role], manifests, made)
        roles[role] = one
    for role in _MANY:
        roles[role] = _many_roles(role, asked[role], manifests, made)
    plan = JoinPlan()
    taken = {*CORE_COLUMNS}
    for name, sources in made:
        derived = any(
            source in CORE_COLUMNS or (source and manifest.columns[source].derived)
            for source, manifest in zip(sources, manifests, strict=True)
        )
        plan.columns.append(
            JoinedColumn(name=name, sources=sources, field=None, derived=derived, is_role=True)
        )
        taken.add(name)
    renamed = _add_fields(plan, manifests, taken, made)
    plan.roles = Roles(
        camera=_renamed(roles["camera"], renamed),
        split=_renamed(roles["split"], renamed),
        track=_renamed(roles["track"], renamed),
        group=tuple(renamed.get(name, name) for name in roles["group"] or ()),
        time=tuple(renamed.get(name, name) for name in roles["time"] or ()),
    )
    return plan


def _one_role(
    role: str,
    names: Sequence[str | None],
    manifests: Sequence[Manifest],
    made: list[tuple[str, tuple[str | None, ...]]],
) -> str | None:
    if not any(names):
        return None
    if (shared := _shared(names, manifests)) is not None:
        return shared
    made.append((role, tuple(names)))
    return role


def _many_roles(
    role: str,
    names: Sequence[tuple[str, ...]],
    manifests: Sequence[Manifest],
    made: list[tuple[str, tuple[str | None, ...]]],
) -> tuple[str, ...]:
    most = max(map(len, names))
    # The last column is the finest: what is shorter lacks the first ones.
    padded = [(None,) * (most - len(each)) + each for each in names]
    found = []
    for place, column in enumerate(zip(*padded, strict=True), 1):
        name = role if most == 1 else f"{role}_{place}"
        if (shared := _shared(column, manifests)) is not None and shared not in found:
            found.append(shared)
            continue
        made.append((name, column))
        found.append(name)
    return tuple(found)


def _shared(names: Sequence[str | None], manifests: Sequence[Manifest]) -> str | None:
    """The one name of a role; None where names differ, or a store without the role has another
    column of that name.
    """
    known = {name for name in names if name is not None}
    if len(known) != 1:
        return None
    (name,) = known
    lacking = [m for given, m in zip(names, manifests, strict=True) if given is None]
    fields = {m.columns[name].field for m in manifests if name in m.columns}
    return None if len(fields) > 1 or any(name in m.columns for m in lacking) else name


def _add_fields(
    plan: JoinPlan,
    manifests: Sequence[Manifest],
    taken: set[str],
    made: Sequence[tuple[str, tuple[str | None, ...]]],
) -> dict[str, str]:
    """Join the other columns by the field that they hold; returns those that have a new name."""
    by_field: dict[tuple[str, bool], dict[int, str]] = {}
    for store, manifest in enumerate(manifests):
        for name, spec in manifest.columns.items():
            if name not in CORE_COLUMNS:
                by_field.setdefault((spec.field or name, spec.derived), {})[store] = name
    renamed = {}
    for (held, derived), names in by_field.items():
        if made and all(
            any(sources[store] == name for _, sources in made) for store, name in names.items()
        ):
            continue
        first = next(iter(names.values()))
        name = free_name(first, taken)
        taken.add(name)
        if name != first:
            renamed[first] = name
        plan.columns.append(
            JoinedColumn(
                name=name,
                sources=tuple(names.get(store) for store in range(len(manifests))),
                field=held if held != name else None,
                derived=derived,
            )
        )
    return renamed


def _renamed(name: str | tuple[str, ...] | None, renamed: dict[str, str]) -> str | None:
    return renamed.get(name, name) if isinstance(name, str) else None
