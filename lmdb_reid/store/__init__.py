"""The store: a directory with one LMDB file, memory-mapped columns and a manifest, written once
and sealed.
"""

from lmdb_reid.store._cells import cell_text, cell_value
from lmdb_reid.store._columns import Columns
from lmdb_reid.store._copy import copy_whole
from lmdb_reid.store._description import Description
from lmdb_reid.store._export import (
    EXPORT_COLUMNS,
    EXPORT_CSV,
    EXPORT_ORDER,
    FIELD_PREFIX,
    LAYOUTS,
    Layout,
    export,
    export_roles,
)
from lmdb_reid.store._ids import Ids
from lmdb_reid.store._manifest import Manifest, read_manifest
from lmdb_reid.store._merge import merge
from lmdb_reid.store._pagecache import resident_bytes
from lmdb_reid.store._parts import PartRows
from lmdb_reid.store._places import settle
from lmdb_reid.store._plots import Plots
from lmdb_reid.store._prepared import NewSample
from lmdb_reid.store._query import absent_values
from lmdb_reid.store._reading import Reading
from lmdb_reid.store._rows import resolve_rows, rows_of
from lmdb_reid.store._sample import Sample
from lmdb_reid.store._samples import MOST_ON_SHEET, SHEET, Samples, draw_persons
from lmdb_reid.store._specs import ColumnSpec, PartSpec
from lmdb_reid.store._store import Store
from lmdb_reid.store._verify import Verification
from lmdb_reid.store._view import View
from lmdb_reid.store._writer import StoreWriter

__all__ = [
    "EXPORT_COLUMNS",
    "EXPORT_CSV",
    "EXPORT_ORDER",
    "FIELD_PREFIX",
    "LAYOUTS",
    "MOST_ON_SHEET",
    "SHEET",
    "ColumnSpec",
    "Columns",
    "Description",
    "Ids",
    "Layout",
    "Manifest",
    "NewSample",
    "PartRows",
    "PartSpec",
    "Plots",
    "Reading",
    "Sample",
    "Samples",
    "Store",
    "StoreWriter",
    "Verification",
    "View",
    "absent_values",
    "cell_text",
    "cell_value",
    "copy_whole",
    "draw_persons",
    "export",
    "export_roles",
    "merge",
    "read_manifest",
    "resident_bytes",
    "resolve_rows",
    "rows_of",
    "settle",
]
