"""The bytes of format 1.0, as they were written on the day it was fixed. They never change."""

import hashlib
import itertools
import json
import struct
import zlib
from pathlib import Path

import lmdb
import lmdb.verify
import msgpack
import numpy as np
import pytest

from lmdb_reid import Store, StoreWriter
from lmdb_reid.schema import Roles
from lmdb_reid.store import Manifest, NewSample

NAMED = (b"images", b"records")
HERE = Path(__file__).parent
IMAGE = (HERE / "image.jpg").read_bytes()
FRAME = "Q1__side__00__01"
SAMPLES = [
    (
        f"{FRAME}#000",
        IMAGE,
        {"label": 3, "kind": 0, "quarter": "Q1", "x": 10, "y": 2.5, "crc32": 7},
    ),
    (f"{FRAME}#001", IMAGE, {"label": -1, "kind": 0, "quarter": "Q1", "x": 11, "y": 3.5}),
    (f"{FRAME}#bg000", IMAGE, {"label": -1, "kind": 1, "quarter": "Ü2", "x": 12}),
]
ORDER = [1, 0, -1]
DERIVED = [
    {"phash": -(1 << 63) + 3, "blur": 0.5},
    {"phash": -1, "blur": 12.0},
    {"phash": 0, "blur": 0.0},
]
ROLES = Roles(camera="quarter", group=("quarter",), time=("x", "y"))
DIGEST = "0ff6357e60af87229ebb29f58eafddc46a9ec36f7917bbbe7a513dd3e14f57c6"
RECORDS = [
    "86a56c6162656c03a46b696e6400a771756172746572a25131a1780aa179cb4004000000000000a5637263333207",
    "85a56c6162656cffa46b696e6400a771756172746572a25131a1780ba179cb400c000000000000",
    "84a56c6162656cffa46b696e6401a771756172746572a3c39c32a1780c",
]
COLUMNS = {
    "id": (
        "|u1",
        "51315f5f736964655f5f30305f5f303123303030"
        "51315f5f736964655f5f30305f5f303123303031"
        "51315f5f736964655f5f30305f5f3031236267303030",
    ),
    "id_offsets": ("<i8", "0000000000000000140000000000000028000000000000003e00000000000000"),
    "label": ("<i8", "0300000000000000ffffffffffffffffffffffffffffffff"),
    "kind": ("|u1", "000001"),
    "crc32": ("<u4", "3ffc4c163ffc4c163ffc4c16"),
    "record_crc32": ("<u4", "c002ccb324a10871ca4a0cd6"),
    "width": ("<i4", "080000000800000008000000"),
    "height": ("<i4", "100000001000000010000000"),
    "quarter": ("<i4", "000000000000000001000000"),
    "x": ("<i8", "0a000000000000000b000000000000000c00000000000000"),
    "y": ("<f8", "00000000000004400000000000000c40000000000000f87f"),
    "src_crc32": ("<f8", "0000000000001c40000000000000f87f000000000000f87f"),
    "image_size": ("<u4", "ac020000ac020000ac020000"),
    "record_size": ("<u4", "2e000000270000001d000000"),
    "src_order": ("<i8", "01000000000000000000000000000000ffffffffffffffff"),
    "phash": ("<i8", "0300000000000080ffffffffffffffff0000000000000000"),
    "blur": ("<f8", "000000000000e03f00000000000028400000000000000000"),
}


@pytest.fixture
def written_now(tmp_path):
    settings = {"seed": 0, "size": [16, 8]}
    with StoreWriter(tmp_path / "now.lmdb", settings=settings, roles=ROLES) as writer:
        samples = zip(SAMPLES, ORDER, DERIVED, strict=True)
        writer.put_group(FRAME, [NewSample(*sample, *more) for sample, *more in samples])
        return writer.seal()


@pytest.fixture(params=["committed", "written now"])
def path(request, written_now):
    return HERE / "golden.lmdb" if request.param == "committed" else written_now


def test_columns_byte_by_byte(path):
    for name, (_, wanted) in COLUMNS.items():
        assert (path / "columns" / f"{name}.bin").read_bytes().hex() == wanted, name
    assert (path / "columns" / "quarter.json").read_text() == '["Q1", "Ü2"]'
    with Store(path) as store:
        specs = store.manifest.columns
        assert {name: spec.dtype for name, spec in specs.items()} == {
            name: dtype for name, (dtype, _) in COLUMNS.items()
        }
        assert specs["src_crc32"].field == "crc32"
        assert [name for name, spec in specs.items() if spec.derived] == ["phash", "blur"]


def test_images_and_records_byte_by_byte(path):
    with Store(path) as store:
        assert list(store) == [name for name, _, _ in SAMPLES]
        assert [store.record_bytes(row).hex() for row in range(3)] == RECORDS
        assert all(store[name].jpeg == IMAGE for name in store)
        assert [store[name].record for name in store] == [record for _, _, record in SAMPLES]


def test_manifest_and_digest(path):
    with Store(path) as store:
        manifest = store.manifest
        assert manifest.version == (1, 0)
        assert manifest.samples == 3
        assert manifest.kinds == {"person": 2, "background": 1}
        assert manifest.identities == 1
        assert manifest.size == (16, 8)
        assert manifest.roles == ROLES
        assert manifest.build == {"seed": 0, "size": [16, 8]}
        (part,) = manifest.parts
        assert (part.path, part.name, part.first, part.count) == ("data.mdb", "", 0, 3)
        assert manifest.digest == part.digest == DIGEST
        assert Manifest.parse((path / "manifest.json").read_bytes()) == manifest
        assert Manifest.parse(manifest.bytes()) == manifest
        assert store.verify(deep=True).ok


def test_the_digest_is_the_sum_of_what_the_specification_says():
    total = 0
    for (name, image, _), record in zip(SAMPLES, RECORDS, strict=True):
        key = name.encode()
        parts = struct.pack("<I", len(key)), key, struct.pack("<I", len(image)), image
        digest = hashlib.sha256(b"".join(parts) + bytes.fromhex(record)).digest()
        total += int.from_bytes(digest, "big")
    assert f"{total % (1 << 256):064x}" == DIGEST


def test_a_reader_made_by_the_specification_alone(path):
    """None of our code: what docs/format.md says is all that it takes."""
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    pinned = manifest.pop("crc32")
    assert zlib.crc32(json.dumps(manifest, sort_keys=True, ensure_ascii=False).encode()) == pinned
    (part,) = manifest["parts"]
    assert (part["first"], part["count"]) == (0, manifest["samples"])
    assert zlib.crc32((path / part["path"]).read_bytes()) == part["crc32"]
    columns = {}
    for name, spec in manifest["columns"].items():
        data = (path / "columns" / f"{name}.bin").read_bytes()
        assert zlib.crc32(data) == spec["crc32"]
        columns[name] = np.frombuffer(data, spec["dtype"])
        assert len(columns[name]) == spec["length"]
    text, offsets = columns["id"].tobytes(), columns["id_offsets"]
    ids = [text[start:stop].decode() for start, stop in itertools.pairwise(offsets.tolist())]
    quarters = json.loads((path / "columns" / "quarter.json").read_text("utf-8"))
    options = {"subdir": False, "readonly": True, "lock": False, "max_dbs": 2, "lib_version": 0}
    with (
        lmdb.open(str(path / part["path"]), **options) as env,
        env.begin() as txn,
    ):
        assert txn.get(b"digest").hex() == part["digest"] == manifest["digest"]
        images, records = (env.open_db(name, txn=txn, create=False) for name in NAMED)
        assert [key.decode() for key, _ in txn.cursor(images)] == ids == sorted(ids)
        for row, sample_id in enumerate(ids):
            image = txn.get(sample_id.encode(), db=images)
            record = txn.get(sample_id.encode(), db=records)
            assert len(image) == columns["image_size"][row]
            assert len(record) == columns["record_size"][row]
            assert zlib.crc32(image) == columns["crc32"][row]
            assert zlib.crc32(record) == columns["record_crc32"][row]
            fields = msgpack.unpackb(record)
            assert fields["label"] == columns["label"][row]
            assert fields["kind"] == columns["kind"][row]
            camera = columns[manifest["roles"]["camera"]]
            assert fields["quarter"] == quarters[camera[row]] == quarters[columns["quarter"][row]]
            assert fields["x"] == columns["x"][row]


def test_lmdb_itself_finds_nothing_wrong(path):
    assert lmdb.verify.verify(str(path / "data.mdb"), subdir=False) == []
