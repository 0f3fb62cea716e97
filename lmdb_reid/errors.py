"""Every error the project raises, each also the builtin that a caller would guess.

    LmdbReidError
    ├── UsageError (ValueError)              an invalid argument
    │   ├── UnknownArgumentError (TypeError)        no argument of that name; says the nearest
    │   └── UnsupportedError (TypeError)            what an object cannot do; says what it can
    ├── UnknownNameError (AttributeError)    no attribute of that name; says the nearest
    ├── MissingExtraError (ImportError)      an optional package is missing; says the pip line
    ├── ResourceError (OSError)              the machine has no more descriptors or memory
    ├── WriteError (OSError)                 a file cannot be written: no space, no permission, ...
    ├── UntrustedError (PermissionError)     a file that another user could have written
    ├── StoreError
    │   ├── StoreNotFoundError (FileNotFoundError)
    │   ├── StoreExistsError (FileExistsError)      a store or an unfinished build is in the way
    │   ├── StoreVersionError (ValueError)          written by a format this code does not know
    │   ├── StoreDamagedError (ValueError)          files do not fit the manifest
    │   ├── StoreChangedError (RuntimeError)        replaced since this object, or its pickle
    │   ├── StoreClosedError (ValueError)
    │   ├── StoreBusyError (RuntimeError)           another process is writing it
    │   ├── StoreWriteError (WriteError)            the same of a store's files
    │   ├── ResumeError (ValueError)                not the settings or inputs it was begun with
    │   └── UnknownColumnError (KeyError)
    ├── FeaturesError (ValueError)           numbers kept beside a store that cannot be used
    │   ├── FeaturesNotFoundError (FileNotFoundError)
    │   └── StaleFeaturesError (RuntimeError)       of another store, or of another order of it
    ├── SampleError
    │   ├── UnknownSampleError (KeyError)
    │   ├── UnknownRowError (IndexError)
    │   ├── DuplicateSampleError (ValueError)
    │   ├── InvalidSampleError (ValueError)         an id, image or record no store can hold
    │   └── CorruptSampleError (ValueError)         stored bytes are not what was written
    ├── WorkerDiedError (RuntimeError)       a loader's worker process ended by itself
    ├── LoaderClosedError (RuntimeError)     a loader, or a pass of one, that is over
    ├── TrainingError (RuntimeError)         a training that cannot go on
    │   └── DivergedError                    its loss or scores are no numbers any more
    ├── ImageError (ValueError)              bytes that cannot be decoded
    │   └── ImageTooLargeError               refused from its header, before memory is taken
    └── SourceError (ValueError)             a builder's input that cannot be used
        ├── SourceNotFoundError (FileNotFoundError)
        ├── SourceReadError (OSError)           the disk failed; a later try may succeed
        └── TooManySkippedError              more rows were unusable than allowed

A message says what, which value, and what to do. Every class can be made from its message alone.
`ids`, `rows` and `path` name what it is about, for programs; they and the notes survive pickling,
and so the way back from a worker process.
"""

import os
from collections.abc import Iterable


class LmdbReidError(Exception):
    """Base of all errors of this project.

    Args:
        message: what, which value, and what to do.
        ids: the samples concerned.
        rows: the rows concerned, of one store.
        path: the file or folder concerned.

    Attributes:
        ids: as given; empty where it is not known.
        rows: as given; empty where it is not known.
        path: as text; None where it is not known.
    """

    ids: tuple[str, ...]
    rows: tuple[int, ...]
    path: str | None

    def __init__(
        self,
        *message: object,
        ids: Iterable[str] = (),
        rows: Iterable[int] = (),
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(*message)
        self.ids = tuple(ids)
        self.rows = tuple(map(int, rows))
        self.path = None if path is None else os.fspath(path)

    def __str__(self) -> str:
        # KeyError and OSError subclasses would otherwise print repr(message) or an errno.
        return str(self.args[0]) if self.args else ""


class UsageError(LmdbReidError, ValueError):
    """An invalid argument."""


class UnknownArgumentError(UsageError, TypeError):
    """A call has an argument of a name that it does not take."""


class UnsupportedError(UsageError, TypeError):
    """An operation that an object does not have, such as `next` of a loader."""


class UnknownNameError(LmdbReidError, AttributeError):
    """An object, class or module has no attribute of this name."""


class MissingExtraError(LmdbReidError, ImportError):
    """An optional package is not installed."""

    @classmethod
    def of(cls, package: str, extra: str, what: str) -> "MissingExtraError":
        """The error for `what` needing `package`, which the extra named `extra` brings."""
        return cls(
            f'{what} needs {package}, which is not installed: pip install "lmdb_reid[{extra}]"'
        )


class ResourceError(LmdbReidError, OSError):
    """The machine has no more of something: file descriptors, memory."""


class WriteError(LmdbReidError, OSError):
    """A file cannot be written: no space, no permission, a failing disk."""


class UntrustedError(LmdbReidError, PermissionError):
    """A file that decides what is served belongs to another user, who could have written it."""


class StoreError(LmdbReidError):
    """Something about a whole store."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """No sealed store at this path."""


class StoreExistsError(StoreError, FileExistsError):
    """A store, or an unfinished build of one, stands at the path that should be written."""


class StoreVersionError(StoreError, ValueError):
    """The store's format version is not one that this code reads."""


class StoreDamagedError(StoreError, ValueError):
    """The store's files do not fit its manifest."""


class StoreChangedError(StoreError, RuntimeError):
    """The store at this path is not the one that this object was made for."""


class StoreClosedError(StoreError, ValueError):
    """The store was closed."""


class StoreBusyError(StoreError, RuntimeError):
    """Another process is writing this store."""


class StoreWriteError(StoreError, WriteError):
    """Writing a store failed: no space, no permission, a failing disk."""


class ResumeError(StoreError, ValueError):
    """An unfinished build was made with other settings or from other inputs."""


class UnknownColumnError(StoreError, KeyError):
    """The store has no column of this name."""


class FeaturesError(LmdbReidError, ValueError):
    """A file of features cannot be used: it is damaged, or has not the rows that are needed."""


class FeaturesNotFoundError(FeaturesError, FileNotFoundError):
    """No features of this name beside the store."""


class StaleFeaturesError(FeaturesError, RuntimeError):
    """Features were made of another store, in another order, or by something else."""


class SampleError(LmdbReidError):
    """Something about one sample."""


class UnknownSampleError(SampleError, KeyError):
    """No sample of this id."""


class UnknownRowError(SampleError, IndexError):
    """No sample in this row, or item of this number."""


class DuplicateSampleError(SampleError, ValueError):
    """Two samples would have one id."""


class InvalidSampleError(SampleError, ValueError):
    """An id, image or record that a store cannot hold."""


class CorruptSampleError(SampleError, ValueError):
    """A sample's stored bytes are not the ones that were written."""


class WorkerDiedError(LmdbReidError, RuntimeError):
    """A worker process of a loader ended by itself."""


class LoaderClosedError(LmdbReidError, RuntimeError):
    """The loader was closed, or a newer pass took the place of this one."""


class TrainingError(LmdbReidError, RuntimeError):
    """A training cannot go on."""


class DivergedError(TrainingError):
    """A loss or a score is no finite number; `rows` are those of the batch, or of such scores,
    where they are known.
    """

    @classmethod
    def of(cls, fault: str, rows: Iterable[int] = ()) -> "DivergedError":
        """The error for what is no finite number, such as "the loss of a batch is NaN"."""
        cure = "the training has diverged. Lower the learning rate (lr)"
        return cls(f"{fault}: {cure}", rows=rows)


class ImageError(LmdbReidError, ValueError):
    """Bytes that cannot be decoded as an image."""


class ImageTooLargeError(ImageError):
    """An image over the limits on pixels or scans, refused from its header."""


class SourceError(LmdbReidError, ValueError):
    """A builder's input that cannot be used."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """A file or folder of a builder's input is not there."""


class SourceReadError(SourceError, OSError):
    """A builder's input could not be read now; a later try may succeed."""


class TooManySkippedError(SourceError):
    """More rows could not be used than the build allows."""
