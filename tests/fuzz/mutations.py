"""Seeded mutations of a sealed data set: bytes, JSON values, schemas, tar members, file types.

Each mutation receives the folder of a store and a random generator, changes the store, and returns
a description of the change.
"""

import io
import json
import os
import random
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.crafted import CRAFTED
from tests.fuzz.forge import forge
from tests.fuzz.places import any_object, name_of

Mutation = Callable[[Path, random.Random], str]

_STRANGE: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**62, 2**64, 10**30, 1e308, -0.0, [], {}, [[[[]]]]),
    *("", "x", "NaN", "../../canary", "/etc/passwd", "\x00", "é" * 300, "\u202e"),
    *("a\x1b[31mb", "<script>alert(1)</script>"),
)
_UNREADABLE = (
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    struct.error,
    TypeError,
    ValueError,
    tarfile.TarError,
)
_BOMB_VALUES = 200_000_000


def mutate(store: Path, rng: random.Random) -> str:
    """Apply one mutation, sometimes two or three."""
    done = [rng.choice(MUTATIONS)(store, rng)]
    for _ in range(rng.choice([0, 0, 0, 0, 1, 2])):
        try:
            done.append(rng.choice(MUTATIONS)(store, rng))
        except _UNREADABLE:  # an earlier mutation damaged what this one would read
            break
    return "; ".join(done)


def bytes_of_any_object(store: Path, rng: random.Random) -> str:
    """Change bytes of one object and nothing that refers to it."""
    path = any_object(store, rng)
    path.write_bytes(changed_bytes(path.read_bytes(), rng))
    return f"bytes of {name_of(store, path)}"


def bytes_of_a_forged_object(store: Path, rng: random.Random) -> str:
    """Change bytes of one object and every digest of it."""
    path = any_object(store, rng, "units", "shards", "ledgers", "manifests")
    forge(store, path, changed_bytes(path.read_bytes(), rng))
    return f"forged bytes of {name_of(store, path)}"


def json_value(store: Path, rng: random.Random) -> str:
    """Replace, remove, repeat or nest one value of a JSON object."""
    path = any_object(
        store, rng, "receipts", "manifests", "plans", "_SUCCESS", suffix=(".json", "")
    )
    content = json.loads(path.read_bytes())
    where = changed_json(content, rng)
    text = json.dumps(content)
    if rng.random() < 0.05:
        text = "[" * 100_000 + text
    forge(store, path, text.encode("utf-8", "surrogatepass"))
    return f"value {where} of {name_of(store, path)}"


def columns(store: Path, rng: random.Random) -> str:
    """Write an Arrow or Parquet object anew with other columns."""
    path = any_object(
        store, rng, "units", "shards", "ledgers", "plans", suffix=(".arrow", ".parquet")
    )
    is_arrow = path.suffix == ".arrow"
    data = path.read_bytes()
    table = pa.ipc.open_file(data).read_all() if is_arrow else pq.read_table(io.BytesIO(data))
    table, what = changed_table(table, rng)
    sink = io.BytesIO()
    if is_arrow:
        options = pa.ipc.IpcWriteOptions(compression=rng.choice([None, "zstd", "lz4"]))
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=rng.choice([1, 2, 1000]))
    else:
        pq.write_table(table, sink, compression=rng.choice(["none", "zstd", "snappy"]))
    forge(store, path, sink.getvalue())
    return f"{what} in {name_of(store, path)}"


def tar_members(store: Path, rng: random.Random) -> str:
    """Write a webdataset shard anew with other members."""
    path = any_object(store, rng, "shards", suffix=(".tar",))
    sink = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=sink, mode="w") as new:
        members = [(each, old.extractfile(each)) for each in old.getmembers()]
        chosen = rng.randrange(len(members))
        kind = rng.randrange(6)
        for index, (member, content) in enumerate(members):
            data = content.read() if content is not None else b""
            if index == chosen:
                data = _changed_member(member, data, kind, rng)
            member.size = len(data) if member.isreg() else 0
            new.addfile(member, io.BytesIO(data))
            if index == chosen and kind == 5:
                new.addfile(member, io.BytesIO(data))
    forge(store, path, sink.getvalue())
    return f"member {chosen} ({kind}) of {name_of(store, path)}"


def _changed_member(member: tarfile.TarInfo, data: bytes, kind: int, rng: random.Random) -> bytes:
    if kind == 0:
        return changed_bytes(data, rng)
    if kind == 1:
        member.name = rng.choice(["../../canary", "/etc/x", "a\x1b[31m.json", "x" * 300, ""]) or "."
    elif kind == 2:
        member.type, member.linkname = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE]), "../canary"
    elif kind == 3:
        member.type = rng.choice([tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
    elif kind == 4:
        return b"\0" * 20_000_000
    return data


def file_type(store: Path, rng: random.Random) -> str:
    """Replace an object or a folder by a link, a FIFO, a device, a folder or nothing."""
    path = any_object(store, rng)
    if rng.random() < 0.3 and path.parent != store:
        path = path.parent
    kind = rng.choice(["link", "loop", "device", "fifo", "folder", "nothing", "empty", "outside"])
    outside = store.parent / "canary"
    name = name_of(store, path)
    if path.is_dir():
        if kind == "outside":  # the same content, behind a link
            moved = store.parent / "moved"
            shutil.move(path, moved)
            path.symlink_to(moved)
            return f"folder {name} is a link"
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind in ("link", "outside"):
        path.symlink_to(outside)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    return f"{name} is now: {kind}"


MUTATIONS: tuple[Mutation, ...] = (
    bytes_of_any_object,
    bytes_of_a_forged_object,
    bytes_of_a_forged_object,
    json_value,
    json_value,
    columns,
    columns,
    tar_members,
    file_type,
    *CRAFTED,
)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with some bytes changed, removed, inserted, repeated or cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        size = max(len(changed), 1)
        # Headers and footers decide more than the values between them.
        edge = min(size, 600)
        start = rng.choice(
            [rng.randrange(size), rng.randrange(edge), size - 1 - rng.randrange(edge)]
        )
        kind = rng.randrange(7)
        if kind <= 1:
            changed[start : start + 1] = bytes(
                [rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])]
            )
        elif kind == 2:
            value = rng.choice([0, -1, 2**31 - 1, -(2**31), 2**62, rng.randrange(size)])
            width = rng.choice([4, 8])
            changed[start : start + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
        elif kind == 3:
            del changed[start : start + rng.choice([1, 8, 100])]
        elif kind == 4:
            changed[start:start] = rng.randbytes(rng.choice([1, 8, 100]))
        elif kind == 5:
            changed[start:start] = changed[start : start + 200]
        else:
            del changed[rng.choice([start, 0, 1, size - 1]) :]
    return bytes(changed)


def changed_json(content: Any, rng: random.Random) -> str:
    """Change one value within a JSON value; return its path."""
    places: list[tuple[Any, Any, str]] = []

    def walk(value: Any, where: str) -> None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in list(pairs):
            places.append((value, key, f"{where}/{key}"))
            if isinstance(inner, dict | list):
                walk(inner, f"{where}/{key}")

    walk(content, "")
    if not places:
        return "/"
    holder, key, where = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.append(holder[key])
    elif kind == 2 and isinstance(holder, dict):
        holder[rng.choice(["extra", "", "a\x1b[31m", "__class__"])] = holder[key]
    elif kind == 3 and isinstance(holder[key], int | float):
        holder[key] = holder[key] + rng.choice([-1, 1, 2**40])
    else:
        holder[key] = rng.choice(_STRANGE)
    return where


def changed_table(table: pa.Table, rng: random.Random) -> tuple[pa.Table, str]:
    """Return a table with another column or other rows, and what was changed."""
    index = rng.randrange(table.num_columns)
    name = table.column_names[index]
    kind = rng.choice(
        ["drop", "repeat", "rename", "type", "null", "strange", "rows", "bomb", "text"]
    )
    if kind == "drop":
        return table.drop_columns([name]), f"no column {name}"
    if kind == "repeat":
        return table.append_column(name, table.column(index)), f"two columns {name}"
    if kind == "rename":
        names = [*table.column_names]
        names[index] = rng.choice(["", "a\x1b[31m", name.upper(), "é" * 200])
        return table.rename_columns(names), f"column {name} renamed"
    if kind == "rows":
        numbers = [rng.randrange(max(table.num_rows, 1)) for _ in range(rng.randrange(6))]
        try:
            rows = table.take(pa.array(numbers, pa.int64())) if table.num_rows else table
        except pa.ArrowNotImplementedError:  # an earlier mutation made a type without rows to take
            return table, f"nothing: no rows of {table.schema.field(index).type}"
        return rows, "other rows"
    column = _other_column(table, index, kind, rng)
    field = pa.field(name, column.type)
    return table.set_column(index, field, column), f"{kind} column {name}"


def _other_column(table: pa.Table, index: int, kind: str, rng: random.Random) -> pa.Array:
    rows = table.num_rows
    if kind == "null":
        return pa.nulls(rows, table.schema.field(index).type)
    if kind == "text":
        return pa.array([rng.choice(["a\x1b[31m", "<script>", "x" * 10_000])] * rows, pa.string())
    if kind == "bomb":  # zeros, which compress to almost nothing
        return pa.array([b"\0" * (_BOMB_VALUES // max(rows, 1))] * rows, pa.large_binary())
    if kind == "type":
        types = [pa.int8(), pa.float64(), pa.string(), pa.binary(), pa.bool_(), pa.list_(pa.int8())]
        return pa.nulls(rows, rng.choice(types))
    values = [2**62, -1, 0]
    return pa.array([rng.choice(values) for _ in range(rows)], pa.int64())
