"""Seeded mutations of the formats of prompts: tables, lines, compressed lines, archives."""

import gzip
import io
import random
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutations import changed_bytes, changed_table

STRANGE_NAMES = ("../../canary", "/etc/passwd", "a\x1b[31m", "", "x" * 5000, "\u202e", "a\0b")


def mutate_table(path: Path, rng: random.Random) -> str:
    """Change a column or the rows of a Parquet or Arrow file."""
    if path.suffix == ".parquet":
        table, what = changed_table(pq.read_table(path), rng)
        pq.write_table(table, path, compression=rng.choice(["none", "zstd", "snappy"]))
        return what
    data = path.read_bytes()
    is_file = data.startswith(b"ARROW1")
    open_ = pa.ipc.open_file if is_file else pa.ipc.open_stream
    table, what = changed_table(open_(data).read_all(), rng)
    options = pa.ipc.IpcWriteOptions(compression=rng.choice([None, "zstd", "lz4"]))
    new = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with new(str(path), table.schema, options=options) as writer:
        writer.write_table(table)
    return what


def mutate_lines(path: Path, rng: random.Random) -> str:
    """Replace a line of a text file, or add many."""
    lines = path.read_bytes().split(b"\n")
    line = rng.choice(
        [
            *(
                b"",
                b"\xff\xfe",
                b"a\0b",
                b"\r",
                b'"' * 5,
                b"\x1b[31m",
                "\u202e".encode(),
                b"[" * 10**5,
            ),
            *(
                b"," * 10**6,
                b"a" * 20_000_000,
                b'{"prompt": {}}',
                b'{"prompt": "\\ud800"}',
                b"1e999",
            ),
        ]
    )
    lines[rng.randrange(len(lines))] = line
    path.write_bytes(b"\n".join(lines) + rng.choice([b"", b"\n" * 3_000_000, b"a\n" * 1000]))
    return f"line {line[:20]!r}"


def mutate_packed_lines(path: Path, rng: random.Random) -> str:
    """Replace a compressed text file, by a bomb for instance."""
    is_bomb = rng.random() < 0.5
    lines = rng.choice([b"\n", b"a red cube on a ball\n", b"a"]) * (20_000_000 if is_bomb else 10)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(changed_bytes(lines, rng) if not is_bomb else lines))
    else:
        with pa.output_stream(str(path), compression="zstd") as file:
            file.write(lines)
    return "bomb" if is_bomb else "lines"


def mutate_members(path: Path, rng: random.Random) -> str:
    """Change a member of a tar file."""
    sink = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=sink, mode="w") as new:
        members = [(each, old.extractfile(each)) for each in old.getmembers()]
        chosen, kind = rng.randrange(len(members)), rng.randrange(6)
        for index, (member, content) in enumerate(members):
            data = content.read() if content is not None else b""
            if index == chosen:
                data = _changed_member(member, data, kind, rng)
            member.size = len(data) if member.isreg() else 0
            new.addfile(member, io.BytesIO(data))
    data = sink.getvalue()
    data = changed_bytes(data, rng) if rng.random() < 0.2 else data
    path.write_bytes(gzip.compress(data) if path.name.endswith("gz") else data)
    return f"member {chosen} ({kind})"


def _changed_member(member: tarfile.TarInfo, data: bytes, kind: int, rng: random.Random) -> bytes:
    if kind == 0:
        return changed_bytes(data, rng)
    if kind == 1:
        member.name = rng.choice(STRANGE_NAMES[:4]) or "."
    elif kind == 2:
        member.type, member.linkname = (
            rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE]),
            rng.choice([member.name, "../canary", "/etc/passwd", "000.txt"]),
        )
    elif kind == 3:
        member.type = rng.choice([tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE])
    elif kind == 4:
        member.pax_headers = {rng.choice(["size", "path", "GNU.sparse.map", "mtime"]): "9" * 30}
    else:
        return b"\0" * 50_000_000
    return data
