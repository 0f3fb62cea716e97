"""Writing a store: LMDB grows under `NAME.partial`, and one rename gives it its name.

States of a build, from each of which a killed one can be resumed:
    data.mdb grows     beside it work/journal.mdb knows of each sample what its columns need, and
                       which groups are whole. data is committed first, the journal second; samples
                       that the journal does not know after a crash are taken out again
    manifest.json      all but the rename is done
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from lmdb_reid import _disk
from lmdb_reid._arguments import known_arguments
from lmdb_reid.errors import (
    InvalidSampleError,
    ResourceError,
    StoreClosedError,
    StoreDamagedError,
    StoreError,
    StoreWriteError,
    UsageError,
)
from lmdb_reid.schema import Roles
from lmdb_reid.store import _format, _places, _sealing
from lmdb_reid.store._from_dataset import from_dataset
from lmdb_reid.store._manifest import Manifest, read_manifest
from lmdb_reid.store._prepared import (
    Given,
    NewSample,
    as_json,
    packed_mark,
    prepared,
)
from lmdb_reid.store._resumed import check_settings
from lmdb_reid.store._specs import check_roles
from lmdb_reid.store._store import Store
from lmdb_reid.store._unfinished import Unfinished
from lmdb_reid.store._write_failures import writing

_SETTINGS, _JOURNAL = "settings.json", "journal.mdb"


class StoreWriter:
    """Writes one store, which appears under its own name when it is sealed.

    >>> with StoreWriter("games.lmdb") as writer:  # doctest: +SKIP
    ...     writer.put("frame1#000", jpeg, {"label": 7})

    The end of a `with` block seals the store. After an exception, or after `close` inside the
    block, what was committed stays as an unfinished build, which `resume=True` continues.

    Args:
        path: the directory of the store. Until it is sealed, `path` + ".partial" is used.
        settings: the settings that decide the content (JSON values). `resume` refuses an unfinished
            build that was made with other settings.
        source: where the content comes from (paths, dates, versions). This is kept in the manifest
            and never compared.
        roles: which columns are the camera, the group, the time and so on; never compared. Each of
            these columns must exist when the store is sealed.
        resume: continue an unfinished build, if there is one.
        overwrite: replace a store at `path` when this one is sealed, and discard an unfinished
            build. Until then the old store stays as it is.

    Raises:
        StoreExistsError: a store, or an unfinished build, exists at the path, and neither `resume`
            nor `overwrite` is set.
        ResumeError: the unfinished build has other settings; the message names them.
        StoreBusyError: another process is writing the same store.
        StoreWriteError: the directory cannot be written.
    """

    @known_arguments()
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        settings: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        roles: Roles | None = None,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path).resolve()  # through a link, or it would be the link that is replaced
        if not self.path.name or self.path.name.endswith(_places.RESERVED):
            raise UsageError(
                f"{self.path} cannot be a store's name: names that end in"
                f" {' or '.join(_places.RESERVED)} belong to builds under way; choose another"
            )
        self._partial = _format.partial_of(self.path)
        self._work = self._partial / _places.WORK
        self._settings = as_json("settings", settings)
        self._source = as_json("source", source)
        self._roles = roles or Roles()
        self._attached: dict[str, bytes] = {}
        self._build: Unfinished | None = None
        self._is_over = False  # sealed, closed, or sealing failed
        self._claim = contextlib.ExitStack()
        with writing(self.path):
            _places.settle(self.path)
            claim = _places.claimed(self.path, resume=resume, overwrite=overwrite)
            found, self._overwrite = self._claim.enter_context(claim)
            try:
                noted = self._work / _SETTINGS
                known = not found or check_settings(self._partial, noted, self._settings)
                self._found_complete = self.complete
                if not self.complete:
                    self._open(resumed=found, known=known)
            except BaseException:
                self.close()
                raise

    @property
    def complete(self) -> bool:
        """Whether an earlier run was stopped at its very end: only `seal` is left to call."""
        return (self._partial / _format.MANIFEST).exists()

    @property
    def source(self) -> Mapping[str, Any]:
        """Where the content comes from; of a `complete` build, as the earlier run noted it."""
        if self.complete:
            return read_manifest(self._partial).source
        return self._source

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None and not self._is_over:
                self.seal()
        finally:
            self.close()

    @known_arguments()
    def put(
        self,
        sample_id: str,
        image: bytes,
        record: Mapping[str, Any],
        *,
        src_order: int | None = None,
        derived: Mapping[str, int | float] | None = None,
    ) -> None:
        """Add one sample.

        Args:
            sample_id: utf-8, 1 to 511 bytes, no control characters.
            image: a JPEG, stored byte for byte.
            record: what is known of it, msgpack values; `label` (int, default: -1) and `kind`
                (0..4, default: person) are understood, every other scalar becomes a column.
            src_order: where it stands in its source's own order, -1 where it stands nowhere in it;
                unless given, it is the order of putting.
            derived: numbers computed from its picture, by the name of their column.

        Raises:
            DuplicateSampleError: the id is in the store already; nothing is written.
            InvalidSampleError: an id, image or record that a store cannot hold.
            StoreWriteError: no space left, or another failure of the disk.
        """
        self.put_group("", [NewSample(sample_id, image, record, src_order, derived or {})])

    def put_group(self, mark: str, samples: Iterable[Given], note: Any = None) -> None:
        """Add samples that belong together, and remember under `mark` that they are in.

        Either all of them and the mark survive a crash, or nothing of it. An empty `mark` is not
        remembered. `note` is any msgpack value, given back by `marks`.
        """
        build = self._unfinished()
        packed = packed_mark(mark, note)
        rows = sorted(
            prepared(sample, order, mark) for order, sample in enumerate(samples, build.count)
        )
        with self._writing():
            build.put(rows, packed)

    from_dataset = from_dataset

    def commit(self) -> None:
        """Bring everything put so far to the disk. Called every 16 MB or 2 s, and by `seal`."""
        build = self._unfinished()
        with self._writing():
            build.commit()

    def marks(self) -> dict[str, Any]:
        """The marks of earlier runs and this one, with their notes."""
        build = self._unfinished()
        with self._writing():
            return build.marks()

    def attach(self, name: str, data: bytes) -> None:
        """Put a file of this name beside the manifest when the store is sealed (a report, say)."""
        taken = (_format.MANIFEST, _format.DATA, _format.COLUMNS, *_places.TAKEN)
        if name != Path(name).name or name in ("", "..", *taken):
            raise UsageError(f"cannot attach a file named {name!r}")
        self._attached[name] = data

    def seal(self) -> Path:
        """Write columns and manifest, sync all of it, and give the store its name.

        The end of a `with` block calls it, unless this was done, or tried, inside the block.

        Returns:
            The path of the sealed store.

        Raises:
            InvalidSampleError: nothing was put.
            StoreWriteError: as `put`; the unfinished build stays and can be resumed.
        """
        self._is_over = True
        with self._writing():
            for name, data in self._attached.items():
                self._write(name, data)
            if not self.complete:
                self._write_sealed()
            self._close_build()
            _disk.remove(self._work)
            _disk.sync(self._partial)
            self._check_opens()
            _places.give_name(self.path, overwrite=self._overwrite)
            self.close()
        return self.path

    def close(self) -> None:
        """Stop without sealing, also at the end of a `with` block. What was committed stays in the
        unfinished build.
        """
        self._is_over = True
        self._close_build()
        self._claim.close()

    def _write_sealed(self) -> None:
        """Columns, data in order, and the manifest last."""
        build = self._unfinished()
        build.commit()
        data, journal = build.data, build.journal
        gathered = _sealing.write_columns(self._partial / _format.COLUMNS, data, journal)
        if gathered is None:
            raise InvalidSampleError(f"{self.path}: nothing was put, so there is nothing to seal")
        try:
            check_roles(self._roles, gathered.columns)
        except ValueError as error:
            raise UsageError(
                f"{error}; there are {', '.join(gathered.columns)}. Change the roles, and resume"
            ) from None
        copy = _sealing.finish_data(data, journal, gathered.digest, self._work / _format.DATA)
        self._close_build()
        if copy is not None:
            _disk.rename(copy, self._partial / _format.DATA)
        try:
            part = _sealing.part_of(self._partial, gathered.samples)
        except (StoreDamagedError, ResourceError) as error:  # what was just written: the disk fails
            raise StoreWriteError(
                f"writing {self.path} failed: {error}. Build again with --resume", path=self.path
            ) from error
        manifest = Manifest(
            **gathered._asdict(),
            roles=self._roles,
            parts=(part,),
            build=self._settings,
            source=self._source | _sealing.provenance(),
        )
        self._write(_format.MANIFEST, manifest.bytes())

    def _write(self, name: str, data: bytes) -> None:
        """A file beside data.mdb; its draft stands in work/, which goes at the end."""
        _disk.write_whole(self._partial / name, data, draft=self._work / f"{name}.draft")

    def _check_opens(self) -> None:
        """No name for what no reader could open: an old store may have to go for it. What an
        earlier run finished is compared as a whole.
        """
        problems: list[str] = []
        try:
            with Store(
                self._partial, check="structure" if self._found_complete else "pins"
            ) as store:
                problems += store.verify().problems if self._found_complete else []
        except (StoreError, ResourceError) as error:
            problems.append(str(error))
        if problems:
            raise StoreWriteError(
                f"the finished build {self._partial} cannot be opened, so that it does not become"
                f" {self.path}: {problems[0]}. Build again with --overwrite",
                path=self._partial,
            )

    # -- opening

    def _open(self, *, resumed: bool, known: bool) -> None:
        if not (self._work / _SETTINGS).exists():
            _disk.write_whole(self._work / _SETTINGS, json.dumps(self._settings).encode())
        data, journal = self._partial / _format.DATA, self._work / _JOURNAL
        self._build = Unfinished(data, journal, resumed=resumed)
        if not known and (self._build.count or self._build.marks()):
            _disk.remove(self._work / _SETTINGS)
            raise StoreDamagedError(
                f"the settings of {self._partial} cannot be read: --overwrite discards the build"
                " and begins again",
                path=self._partial,
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """After a failure of the disk nothing more is taken: what was lost would go unnoticed."""
        try:
            with writing(self.path):
                yield
        except StoreWriteError:
            self.close()
            raise

    def _unfinished(self) -> Unfinished:
        if self._build is None:
            if self.complete:
                raise StoreClosedError(f"{self.path} is complete: only seal() is left to call")
            raise StoreClosedError(f"the writer of {self.path} is closed")
        return self._build

    def _close_build(self) -> None:
        if self._build is not None:
            self._build.close()
        self._build = None
