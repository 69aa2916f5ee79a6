"""Seeded mutations that random bytes would hardly find: false sizes, foreign types, bombs, names.

Each follows the structure of a file to the numbers that a reader trusts, and changes one of them.
"""

import io
import json
import os
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.forge import edit_json, forge
from tests.fuzz.places import any_object, name_of

SIZES = (0, 1, -1, 7, 2**15, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
"""Numbers that are written in place of a size or an offset."""

_TAR_SIZES = (
    *(b"00000000000\0", b"00000001000\0", b"77777777777\0", b"-0000000001\0", b" " * 12),
    *(b"\x80" + (2**40).to_bytes(11, "big"), b"\xff" * 12),
)
"""Sizes of a member in its header: in octal digits, or in binary after the first bit."""

_NAMES = (
    "manifests/{plan}/v0.json",
    "manifests/{plan}/v2.json",
    "manifests/{plan}/v99999999999999999999.json",
    "manifests/{plan}/v1.removed.json",
    "manifests/{plan}/v2.removed.json",
    "receipts/{plan}/99999999.json",
    "receipts/{plan}/123456789012345678901234567890.json",
    "units/{plan}/00000000-0000000000000000.arrow",
    "shards/{plan}/v1/train-000000-0000000000000000.arrow",
    "disagreements/{plan}/00000000-a.json",
    "plans/other/plan.json",
    "plans/{plan}/dropped-0000000000000000.parquet",
    "reports/{plan}/a\x1b[31m\u202e.md",
    "repairs/{plan}/units/x",
    ".probe/\udc80\udcff",
    "<script>alert(1)</script>",
    "[a](javascript:alert(1))|",
)
"""Keys of objects that are added; ``{plan}`` is the id of the plan."""


def arrow_numbers(store: Path, rng: random.Random) -> str:
    """Change a length, a count, an offset or a size in the headers of an Arrow object."""
    path = any_object(store, rng, "units", "shards", suffix=(".arrow",))
    data = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        # Compressed buffers start with their size after decompression.
        table = pa.ipc.open_file(bytes(data)).read_all()
        sink = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression=rng.choice(["lz4", "zstd"]))
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=rng.choice([1, 1000]))
        data = bytearray(sink.getvalue())
    places = [at for at in range(8, len(data) - 8, 8) if _is_a_size(data, at)]
    for _ in range(rng.choice([1, 1, 2, 5])):
        width, kind = rng.choice([(8, "<q"), (8, "<q"), (4, "<i")])
        value = rng.choice(SIZES)
        bits = 8 * width
        value = (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
        struct.pack_into(kind, data, rng.choice(places), value)
    forge(store, path, bytes(data))
    return f"numbers of {name_of(store, path)}"


def _is_a_size(data: bytearray, at: int) -> bool:
    return 0 <= int(struct.unpack_from("<q", data, at)[0]) <= len(data)


def arrow_types(store: Path, rng: random.Random) -> str:
    """Write a column of an Arrow or Parquet object with another type for the same values."""
    path = any_object(store, rng, "units", "shards", "ledgers", "plans", suffix=(".arrow",))
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    index = rng.randrange(table.num_columns)
    name, column = table.column_names[index], table.column(index).combine_chunks()
    kinds: list[Callable[[pa.Array], pa.Array]] = [
        lambda values: values.dictionary_encode(),
        lambda values: pa.StructArray.from_arrays([values], ["inner"]),
        lambda values: pa.ListArray.from_arrays([*range(len(values) + 1)], values),
        lambda values: pa.LargeListArray.from_arrays([*range(len(values) + 1)], values),
        lambda values: pa.UnionArray.from_dense(
            pa.array([0] * len(values), pa.int8()),
            pa.array([*range(len(values))], pa.int32()),
            [values],
        ),
        lambda values: pa.RunEndEncodedArray.from_arrays([*range(1, len(values) + 1)], values),
        lambda values: values.cast(pa.string_view()),
        lambda values: values.cast(pa.large_string()),
        lambda values: pa.nulls(len(values)),
        lambda values: values.view(pa.binary()),
    ]
    made = rng.choice(kinds)
    try:
        changed = made(column)
    except (pa.ArrowException, TypeError, ValueError):
        changed = pa.nulls(len(column))
    table = table.set_column(index, name, changed)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    forge(store, path, sink.getvalue())
    return f"column {name} as {changed.type} in {name_of(store, path)}"


def parquet_pages(store: Path, rng: random.Random) -> str:
    """Change the header of a page, or repeat rows so often that they decode to gigabytes."""
    path = any_object(store, rng, "ledgers", "plans", suffix=(".parquet",))
    data = bytearray(path.read_bytes())
    metadata = pq.read_metadata(io.BytesIO(data))
    if rng.random() < 0.3 and metadata.num_rows:
        table = pq.read_table(io.BytesIO(data))
        rows = pa.array([0] * rng.choice([1, 1000, 50_000]))
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
            for _ in range(rng.choice([1, 20])):
                writer.write_table(table.take(rows))
        forge(store, path, sink.getvalue())
        return f"repeated rows in {name_of(store, path)}"
    for _ in range(rng.choice([1, 1, 3])):
        group = metadata.row_group(rng.randrange(max(metadata.num_row_groups, 1)))
        chunk = group.column(rng.randrange(group.num_columns))
        start = rng.choice([chunk.dictionary_page_offset, chunk.data_page_offset])
        at = (start or chunk.data_page_offset) + rng.randrange(24)
        data[at % len(data)] = rng.choice([0, 1, 0x15, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    forge(store, path, bytes(data))
    return f"page headers of {name_of(store, path)}"


def tar_headers(store: Path, rng: random.Random) -> str:
    """Put a foreign member into a tar shard: links, devices, sparse files, headers of gigabytes."""
    path = any_object(store, rng, "shards", suffix=(".tar",))
    data = path.read_bytes()
    kind = rng.choice(b"01234567SxgLKMVX\0")
    member = tarfile.TarInfo(rng.choice(["a.json", "../../canary", "x" * 99, "a/b.npy"]))
    member.linkname = rng.choice(["", "../canary", "/etc/passwd", "a.json"])
    header = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    header[156] = kind
    header[124:136] = rng.choice(_TAR_SIZES)
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    body = rng.choice([b"", b"30 size=9999999999999999999\n", b"20 path=../../canary\n"])
    blocks = bytes(header) + body.ljust(-(-len(body) // 512) * 512, b"\0")
    at = rng.choice([0, 512 * rng.randrange(max(len(data) // 512, 1))])
    forge(store, path, data[:at] + blocks + data[at:])
    return f"member of type {chr(kind)!r} in {name_of(store, path)}"


def pictures(store: Path, rng: random.Random) -> str:
    """Replace pictures of an Arrow shard by bombs and by files of other formats."""
    path = any_object(store, rng, "shards", "units", suffix=(".arrow",))
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    name = rng.choice(["source_image", "golden_image"])
    values = table.column(name).to_pylist()
    chosen = rng.randrange(max(len(values), 1))
    if values:
        values[chosen] = _picture(values[chosen] or b"", rng)
    index = table.schema.get_field_index(name)
    field = table.schema.field(index)
    table = table.set_column(index, field, pa.array(values, field.type))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    forge(store, path, sink.getvalue())
    return f"{name} {chosen} of {name_of(store, path)}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes, depth: int = 8, color: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _picture(real: bytes, rng: random.Random) -> bytes:
    zeros = zlib.compress(bytes(20_000_000), 9)
    data = _chunk(b"IDAT", zeros)
    width = rng.choice([0, 1, 8, 13_000, 2**31 - 1, 2**32 - 1])
    side = rng.choice([4096, 5000, 13_000])
    canvas = (side - 1).to_bytes(3, "little") * 2
    animated = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + canvas
    frames = b"".join(_chunk(b"fcTL", bytes(26)) for _ in range(50))
    changed = bytearray(real or b"\0")
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return rng.choice(
        [
            _png(width, 1, data),
            _png(13_000, 13_000, data),
            _png(8, 8, _chunk(b"iCCP", b"a\0\0" + zeros), data),
            _png(8, 8, _chunk(b"zTXt", b"a\0\0" + zeros), data),
            _png(8, 8, _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), frames, data),
            _png(8, 8, data, depth=rng.choice([1, 16, 255]), color=rng.choice([0, 3, 4, 6, 255])),
            _png(8, 8, _chunk(b"PLTE", bytes(3)), _chunk(b"tRNS", bytes(999)), data, color=3),
            _png(8, 8),
            b"RIFF" + struct.pack("<I", 2**32 - 1) + animated,
            b"RIFF" + struct.pack("<I", len(animated)) + animated,
            b"RIFF\0\0\0\0WEBPVP8L" + struct.pack("<I", 5) + b"\x2f\xff\xff\xff\xff",
            b"\xff\xd8\xff\xe0" + bytes(100),
            b"GIF89a" + bytes(100),
            bytes(changed),
            real[: len(real) // 2],
            b"",
        ]
    )


def added_objects(store: Path, rng: random.Random) -> str:
    """Add an object under a strange key: other versions, units without end, markup, bytes."""
    (plan,) = (path.name for path in (store / "plans").iterdir() if path.name != "other")
    key = rng.choice(_NAMES).format(plan=plan)
    path = store / key
    path.parent.mkdir(parents=True, exist_ok=True)
    other = any_object(store, rng)
    path.write_bytes(rng.choice([b"", b"{}", other.read_bytes(), b"[" * 50_000]))
    if key.endswith("v2.json") and rng.random() < 0.7:
        _forge_version(store, path)
    if rng.random() < 0.2:
        (store / "_SUCCESS").write_bytes(b"") if rng.random() < 0.5 else _name_version(store, rng)
    return f"added {key!a}"


def _forge_version(store: Path, path: Path) -> None:
    content = json.loads((path.parent / "v1.json").read_bytes())
    content["version"] = 2
    path.write_text(json.dumps(content), encoding="utf-8")


def _name_version(store: Path, rng: random.Random) -> None:
    def edit(content: Any) -> None:
        key = content["manifests"][0]["key"]
        content["manifests"][0]["key"] = key.replace("v1", rng.choice(["v2", "v99", "v0", "v01"]))

    edit_json(store / "_SUCCESS", edit)


def sparse_object(store: Path, rng: random.Random) -> str:
    """Extend an object to gigabytes that take no space on the disk."""
    path = any_object(store, rng)
    os.truncate(path, rng.choice([2**27, 2**30, 2**33, 2**36]))
    return f"{name_of(store, path)} is large"


CRAFTED: tuple[Callable[[Path, random.Random], str], ...] = (
    arrow_numbers,
    arrow_numbers,
    arrow_types,
    parquet_pages,
    parquet_pages,
    tar_headers,
    tar_headers,
    pictures,
    pictures,
    added_objects,
    sparse_object,
)
