"""Some samples of a store, in an order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, overload

import numpy as np
import numpy.typing as npt

from lmdb_reid import pictures
from lmdb_reid._arguments import known_arguments
from lmdb_reid._names import Guesses, guessed
from lmdb_reid.errors import UsageError
from lmdb_reid.schema import Kind, Roles, Rows
from lmdb_reid.store import _captions
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._guesses import ROW_OF_SHEET
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._manifest import Manifest
from lmdb_reid.store._notebook import samples_html
from lmdb_reid.store._rows import resolve_rows, rows_of
from lmdb_reid.store._sample import Sample

SHEET = 48
"""How many samples a sheet shows unless told."""
MOST_ON_SHEET = 1000
"""How many it may show."""
_NAMED = 3  # ids in a repr
_BY_WHO = ("auto", "label", "identity")  # so that the heading says who


class Readable(Protocol):
    """What of a store samples are read from."""

    path: Path
    ids: Ids
    columns: Columns
    manifest: Manifest

    @property
    def roles(self) -> Roles: ...
    def at(self, row: int) -> Sample: ...
    def row(self, sample_id: str) -> int: ...
    def query(self, expression: str | None = None, /, **equal: Any) -> Rows: ...
    def __len__(self) -> int: ...
    def __contains__(self, sample_id: object) -> bool: ...


class Choice(NamedTuple):
    """Among which samples some were chosen."""

    what: str
    """In words: a query, or "persons"."""
    of: int
    """How many there are."""


class Samples(Sequence[Sample]):
    """Some samples of a store, each read when it is asked for. In a notebook it shows itself as a
    contact sheet of the first 48.

    `samples[3]` is a Sample; a slice, a list of places or a mask gives Samples again.
    """

    def __init__(self, store: Readable, rows: Rows, choice: Choice | None = None) -> None:
        self.store = store
        """The store that they are read from."""
        self.rows = rows
        """Their rows of the store, int64 [N]."""
        self._choice = choice

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [self.store.ids[row] for row in self.rows.tolist()]

    @property
    def labels(self) -> Rows:
        """Their labels, int64 [N]."""
        labels: Rows = self.store.columns["label"][self.rows]
        return labels

    @property
    def title(self) -> str:
        """The store's name, what they were chosen by, and how many of how many they are."""
        what, of = self._choice or Choice("", len(self.store))
        # Some may be named more than once.
        count = f"{len(self):,} of {of:,}" if len(self) <= of else f"{len(self):,}"
        count += "" if what else " samples"
        return " · ".join(part for part in (self.store.path.name, what, count) if part)

    def captions(self) -> list[str]:
        """What is known of each, such as "label 3 · Q1-000 · side · f12"."""
        return _captions.captions(self.store, self.rows)

    @known_arguments(works=ROW_OF_SHEET)
    def sheet(
        self, *, columns: int | None = None, by: str | None = "auto", title: str | None = None
    ) -> pictures.Picture:
        """A contact sheet of all of them: each with what is known of it, in the colour of its kind.

        Args:
            columns: pictures in a row; chosen by their number unless given.
            by: the column or role whose values are groups, such as "label" or "camera"; None keeps
                the order, without groups; "auto" keeps it for samples that were named, while those
                drawn at random or found by a query are grouped by label, if labels have three
                samples or more on average, or come with persons first.
            title: the first line; the store, the query and the number of samples unless given.

        Raises:
            UsageError: none, or more than 1,000.
            MissingExtraError: Pillow is not installed.
        """
        if not 1 <= len(self) <= MOST_ON_SHEET:
            raise UsageError(
                f"a sheet must show 1 to {MOST_ON_SHEET:,} samples, got {len(self):,}."
                " store.sheet(48) draws some at random, store.sample(48, query=...) of those that"
                " match a query."
            )
        rows, groups = self._grouped(by)
        kinds = _captions.kinds_of(self.store, rows)
        return pictures.contact_sheet(
            [self.store.at(row).image for row in rows.tolist()],
            _captions.captions(self.store, rows, with_who=not groups or by not in _BY_WHO),
            columns=columns,
            title=self.title if title is None else title,
            groups=groups,
            edges=[_captions.COLOURS[kind] for kind in kinds],
            legend=_captions.legend(kinds),
        )

    def _grouped(self, by: str | None) -> tuple[Rows, list[str]]:
        """(rows in the order of a sheet, the heading of each; none without groups)."""
        if by == "auto":
            if self._choice is None:
                by = None
            elif _captions.worth_grouping(self.store, self.rows):
                by = "label"
            else:
                return _captions.persons_first(self.store, self.rows), []
        return (self.rows, []) if by is None else _captions.in_groups(self.store, self.rows, by)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice | Sequence[int] | npt.NDArray[Any]) -> Samples: ...
    def __getitem__(self, place: Any) -> Sample | Samples:
        if isinstance(place, slice):
            return Samples(self.store, self.rows[place])
        if isinstance(place, int | np.integer) and not isinstance(place, bool):
            if not -len(self) <= place < len(self):
                raise IndexError(f"sample {place} of {len(self)}")
            return self.store.at(int(self.rows[place]))
        places = rows_of(place, len(self), self._place, "this selection", from_end=True)
        return Samples(self.store, self.rows[places])

    def _place(self, sample_id: str) -> int:
        places = np.flatnonzero(self.rows == self.store.row(sample_id))
        if not len(places):
            raise UsageError(f"{sample_id!r} is in the store, but not among these samples.")
        return int(places[0])

    def __repr__(self) -> str:
        ids = [repr(self.store.ids[row]) for row in self.rows[:_NAMED].tolist()]
        more = ["..."] if len(self) > _NAMED else []
        return f"Samples({len(self):,}: {', '.join(ids + more)})" if ids else "Samples(0)"

    def _repr_html_(self) -> str:
        return samples_html(self.store, self.rows, SHEET, self.title)

    if not TYPE_CHECKING:  # or type checkers would take every name

        def __getattr__(self, name: str) -> Any:
            return guessed(self, name, _GUESSES)


_GUESSES = Guesses(
    works={"images": lambda samples: [sample.image for sample in samples]},
    answers={"show": "Use samples.sheet() for a picture of them."},
)


def select(store: Readable, chosen: Any) -> Samples:
    """Samples of a store by whatever `store[...]` takes beside an id or a row."""
    if isinstance(chosen, slice):
        return Samples(store, np.arange(*chosen.indices(len(store)), dtype=np.int64))
    rows = None if hasattr(chosen, "iloc") else getattr(chosen, "rows", None)
    if rows is not None:  # Samples, a ReIDDataset, a batch
        other = getattr(chosen, "store", store)
        if other.manifest.fingerprint != store.manifest.fingerprint:
            raise UsageError("samples must be of this store, got some of another one.")
        chosen = rows
    return Samples(store, resolve_rows(store, chosen, from_end=True))


def draw(store: Readable, count: int, seed: int, rows: Rows | None, what: str = "") -> Samples:
    """`count` samples at random, all if there are fewer; in the order of their rows.

    Args:
        store: theirs.
        count: how many.
        seed: of the choice.
        rows: choose among these; among all if None.
        what: these are, in words.

    Raises:
        UsageError: a count or seed that cannot be.
    """
    for name, value, least in (("n", count, 1), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise UsageError(f"{name} must be a whole number, at least {least}, got {value!r}.")
    among = len(store) if rows is None else len(rows)
    places = np.random.default_rng(seed).choice(among, min(count, among), replace=False)
    places.sort()
    choice = Choice(what, among)
    return Samples(store, places.astype(np.int64) if rows is None else rows[places], choice)


def draw_persons(store: Readable, count: int, seed: int) -> Samples:
    """As `draw`, among the persons; among all samples of a store without persons."""
    persons = np.flatnonzero(store.columns["kind"] == Kind.PERSON).astype(np.int64)
    return draw(store, count, seed, *((persons, "persons") if len(persons) else (None, "")))


def chosen_for_sheet(store: Readable, chosen: Any) -> Samples:
    """The samples of `Store.sheet`'s first argument.

    Raises:
        UsageError: nothing, or too much, is chosen.
    """
    if chosen is None or (isinstance(chosen, int | np.integer) and not isinstance(chosen, bool)):
        return draw_persons(store, SHEET if chosen is None else int(chosen), 0)
    if isinstance(chosen, str):
        if chosen in store:
            return Samples(store, np.array([store.row(chosen)], np.int64))
        if not _is_condition(chosen):
            store.row(chosen)  # names the nearest id
        rows = store.query(chosen)
        if not len(rows):
            raise UsageError(f"no sample matches {chosen!r}, so there is nothing to show.")
        return Samples(store, rows, Choice(chosen, len(rows)))
    if isinstance(chosen, Sample):
        chosen = [chosen]
    if isinstance(chosen, list | tuple) and chosen and isinstance(chosen[0], Sample):
        chosen = [sample.row for sample in chosen]
    return select(store, chosen)


def _is_condition(text: str) -> bool:
    return any(sign in text for sign in ("=", "<", ">", "(", " in ", "@"))
