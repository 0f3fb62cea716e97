"""The pages of a data file's trees, checked before LMDB follows them.

LMDB believes its pages. If one is damaged, LMDB may read behind the end of its map, which ends the
process, or return memory that is not the file's. So before LMDB looks a key up for the first time,
the pages from the root to that key's leaf are read here and compared with what LMDB writes: their
numbers, kinds and bounds, ascending keys, and values that end in the file. A page is checked once
in a process. What a value holds is not checked here: it has a checksum.

The layout is that of LMDB's data format 1 (MDB_page, MDB_node, MDB_db and MDB_meta in the mdb.c of
LMDB 0.9).
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from operator import ge
from pathlib import Path
from typing import NamedTuple, NoReturn

from lmdb_reid.errors import CorruptSampleError, StoreDamagedError
from lmdb_reid.store._column_files import AGAIN
from lmdb_reid.store._passing import passing

_HEAD = struct.Struct("=QHHHH")  # its number, -, kind, end of the pointers, begin of the nodes
_NODE = struct.Struct("=IHH")  # size of the value, flags, size of the key; a branch's: a page
_NUMBER = struct.Struct("=Q")
_DATABASE = struct.Struct("=IHHQQQQQ")  # -, flags, depth, pages of three kinds, entries, root
_MAIN = _HEAD.size + 24 + _DATABASE.size  # where a meta page describes the main tree
_LAST = struct.Struct("=QQ")  # the last page, the number of the transaction
_META_BYTES = _MAIN + _DATABASE.size + _LAST.size
_METAS = 2
_BRANCH, _LEAF = 0x01, 0x02
_LARGE, _NAMED = 0x01, 0x02  # nodes: the value has pages of its own; it describes a tree
_EMPTY = (1 << 64) - 1  # the root of a tree without entries
_DEEPEST = 32  # levels, LMDB's own limit
_KEPT = 1024  # branch pages, of some 10 kB each


class Node(NamedTuple):
    """An entry of a page."""

    key: bytes
    flags: int
    size: int
    """Of the value, in bytes; in a branch, the lower 32 bits of a page's number."""
    value: bytes
    """What lies in this page of it."""
    ends: bool
    """Whether the value ends in the page, or else in the file."""


class Pages:
    """The pages of one open data file.

    Args:
        file: for messages.
        descriptor: of that file; it stays the caller's.
        page_bytes: the size of a page.
        names: of two named databases, whose trees are `images` and `records`.

    Raises:
        StoreDamagedError: a page that says where the trees are is damaged.
        ResourceError: the file cannot be read now.
    """

    def __init__(
        self, file: Path, descriptor: int, page_bytes: int, names: tuple[bytes, bytes]
    ) -> None:
        self._file, self._descriptor, self._bytes = file, descriptor, page_bytes
        metas = [self._read(number, _META_BYTES) for number in range(_METAS)]
        # As LMDB does: the one of the last transaction.
        meta = max(metas, key=lambda one: _LAST.unpack_from(one, _META_BYTES - _LAST.size)[1])
        last: int = _LAST.unpack_from(meta, _META_BYTES - _LAST.size)[0]
        self.last = min(last, os.fstat(descriptor).st_size // page_bytes - 1)
        self._main = self._tree(meta[_MAIN : _MAIN + _DATABASE.size], 0, (0, _NAMED))
        self.images, self.records = map(self._named, names)

    def nodes(self, number: int) -> tuple[int, list[Node]]:
        """(kind, entries) of a branch or leaf page, whose keys all lie in the page.

        Raises:
            StoreDamagedError: the page is not one that LMDB wrote.
            ResourceError: it cannot be read now.
        """
        if not _METAS <= number <= self.last:
            self.refuse(number, "the file has no page of this number")
        size = self._bytes
        page = self._read(number, size)
        own, _, kind, lower, upper = _HEAD.unpack_from(page)
        count = (lower - _HEAD.size) // 2
        if own != number or kind not in (_BRANCH, _LEAF):
            self.refuse(number, "it is another page, or of another kind")
        if count <= 0 or lower % 2 or not lower <= upper <= size:
            self.refuse(number, "its bounds are wrong")
        found = []
        for at in struct.unpack_from(f"={count}H", page, _HEAD.size):
            begin = at + _NODE.size
            if not upper <= at <= size - _NODE.size:
                self.refuse(number, "an entry is not in it")
            value_size, flags, key_size = _NODE.unpack_from(page, at)
            value = begin + key_size
            if value > size:
                self.refuse(number, "a key ends behind it")
            large = kind == _LEAF and flags & _LARGE
            inside = 0 if kind == _BRANCH else _NUMBER.size if large else value_size
            stored = page[value : value + inside]
            ends = value + inside <= size and (not large or self._ends(stored, value_size))
            found.append(Node(page[begin:value], flags, value_size, stored, ends))
        return kind, found

    def _ends(self, stored: bytes, size: int) -> bool:
        """Whether a value with pages of its own ends in the file."""
        first: int = _NUMBER.unpack(stored)[0]
        return _METAS <= first <= self.last + 1 - -(-(_HEAD.size + size) // self._bytes)

    def refuse(self, number: int, why: str) -> NoReturn:
        """Raise StoreDamagedError for a page."""
        raise StoreDamagedError(
            f"{self._file} is damaged: page {number}: {why}{AGAIN}", path=self._file
        )

    def _read(self, number: int, size: int) -> bytes:
        try:
            page = os.pread(self._descriptor, size, number * self._bytes)
        except OSError as error:
            raise passing(self._file, error) or StoreDamagedError(
                f"{self._file} cannot be read: {error.strerror}{AGAIN}", path=self._file
            ) from None
        if len(page) < size:
            self.refuse(number, "the file ends before its end")
        return page

    def _tree(self, description: bytes, at: int, flags: tuple[int, ...]) -> Tree:
        """The tree that a description (MDB_db) on page `at` speaks of."""
        if len(description) != _DATABASE.size:
            self.refuse(at, "the description of a tree is wrong")
        _, is_other, *_, root = _DATABASE.unpack(description)
        if is_other:  # another order of keys, or several values of one
            self.refuse(at, "the flags of a tree are wrong")
        return Tree(self, root, flags)

    def _named(self, name: bytes) -> Tree:
        leaf, node = self.entry(name)
        if node is None or node.flags != _NAMED:
            raise StoreDamagedError(
                f"{self._file} has no database {name.decode()!r}{AGAIN}", path=self._file
            )
        return self._tree(node.value, leaf, (0, _LARGE))

    def entry(self, name: bytes) -> tuple[int, Node | None]:
        """(its page, the entry of the unnamed database) of a name, whose value lies in that page;
        None if there is no such entry. LMDB can look the name up.

        Raises:
            StoreDamagedError: a page on the way, or the entry, is not sound.
            ResourceError: a page cannot be read now.
        """
        leaf = 0
        try:
            leaf = self._main.leaf(name) or 0
        except CorruptSampleError:  # what is no sample is of all of them
            raise StoreDamagedError(
                f"{self._file} is damaged: the entry of {name.decode()!r} is wrong{AGAIN}",
                path=self._file,
            ) from None
        found = self.nodes(leaf)[1] if leaf else []
        return leaf, next((node for node in found if node.key == name), None)


class Tree:
    """One tree of a data file. Threads may share it: at worst they check a page twice.

    Args:
        pages: of the file.
        root: the number of its first page.
        flags: that its entries may have.
    """

    __slots__ = ("_branches", "_flags", "_leaves", "_pages", "_root")

    def __init__(self, pages: Pages, root: int, flags: tuple[int, ...]) -> None:
        self._pages, self._root, self._flags = pages, root, flags
        self._branches: dict[int, tuple[list[bytes], list[int]]] = {}
        self._leaves = bytearray(pages.last // 8 + 1)  # a bit for each page that is a sound leaf

    def leaf(self, key: bytes) -> int | None:
        """The number of the leaf where `key` is, or would be; None in an empty tree. LMDB can look
        the key up: all pages on the way are sound, and so is its entry, if there is one.

        Raises:
            StoreDamagedError: a page is not sound.
            CorruptSampleError: the entry is not.
            ResourceError: a page cannot be read now.
        """
        number, last, leaves = self._root, self._pages.last, self._leaves
        if number == _EMPTY:
            return None
        for _ in range(_DEEPEST):
            branch = self._branches.get(number)
            if branch is None:
                if number <= last and leaves[number >> 3] >> (number & 7) & 1:
                    return number
                branch = self._checked(number, key)
                if branch is None:
                    return number
            keys, children = branch
            number = children[bisect_right(keys, key)]
        self._pages.refuse(self._root, f"there are over {_DEEPEST} levels below it")

    def _checked(self, number: int, key: bytes) -> tuple[list[bytes], list[int]] | None:
        """(keys from the second on, children) of a branch; None of a leaf.

        A leaf with an entry that is not sound gets no bit: it is looked at for each key.
        """
        kind, nodes = self._pages.nodes(number)
        if kind == _LEAF:
            damaged = {n.key for n in nodes if not n.ends or n.flags not in self._flags}
            if key in damaged:
                name = key.decode(errors="backslashreplace")
                raise CorruptSampleError(f"{name}: its entry in LMDB's tree is damaged", ids=[name])
            if not damaged:
                self._leaves[number >> 3] |= 1 << (number & 7)
            return None
        keys = [node.key for node in nodes[1:]]  # LMDB does not look at the first
        if not keys or any(map(ge, keys, keys[1:])):
            self._pages.refuse(number, "its keys do not ascend")
        if len(self._branches) >= _KEPT:
            self._branches.clear()
        branch = keys, [node.size | node.flags << 32 for node in nodes]
        self._branches[number] = branch
        return branch
