"""The pairs of one shard by column: noises as views of the file, the small columns decoded once."""

import json
import math
import mmap
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.storage.layout import ShardFormat
from pipeline.storage.schema import Noise

Scores = Mapping[str, npt.NDArray[np.float32]]
"""By name one number a row; NaN where there is none."""

IMAGES = ("source_image", "golden_image")

UNREADABLE = (pa.ArrowException, tarfile.TarError, EOFError, LookupError, TypeError, ValueError)
"""What reading raises where the bytes are as promised and make no sense."""


@dataclass(frozen=True, kw_only=True)
class PairColumns:
    """All pairs of a shard; a pair is a row of every column."""

    plan_id: str
    texts: Mapping[str, Sequence[str]]
    """``sample_id``, ``prompt``, ``prompt_id``."""
    seeds: npt.NDArray[np.int64]
    source_noise: Sequence[Noise] | None
    """Flat, read only; None where it is to be rebuilt from the seeds."""
    golden_noise: Sequence[Noise]
    """Flat, read only."""
    numbers: Mapping[str, Scores]
    """``source_rewards``, ``golden_rewards``, ``noise_stats``."""
    images: Mapping[str, Callable[[int], bytes]]
    """Encoded pictures by row, of those of ``IMAGES`` that are stored."""


def read_columns(file: BinaryIO, shard_format: ShardFormat, plan_id: str) -> PairColumns:
    """Map a shard. The file may be closed afterwards. Raises one of ``UNREADABLE``."""
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    # The disk reads ahead while the first rows are used.
    mapped.madvise(mmap.MADV_WILLNEED)
    return _READERS[shard_format](mapped, plan_id)


_TEXTS = ("sample_id", "prompt", "prompt_id")
_NUMBERS = ("source_rewards", "golden_rewards", "noise_stats")


def _read_arrow(mapped: mmap.mmap, plan_id: str) -> PairColumns:
    shard = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
    batches = [shard.get_batch(index) for index in range(shard.num_record_batches)]
    table = pa.Table.from_batches(batches, shard.schema)
    is_stored = {name: table[name].null_count == 0 for name in ("source_noise", *IMAGES)}
    return PairColumns(
        plan_id=plan_id,
        texts={name: table[name].to_pylist() for name in _TEXTS},
        seeds=_values(table["seed"].combine_chunks()),
        source_noise=_arrow_noise(batches, "source_noise") if is_stored["source_noise"] else None,
        golden_noise=_arrow_noise(batches, "golden_noise"),
        numbers={name: _struct(table[name].combine_chunks()) for name in _NUMBERS},
        images={name: _arrow_image(table[name]) for name in IMAGES if is_stored[name]},
    )


def _arrow_noise(batches: Sequence[pa.RecordBatch], name: str) -> list[Noise]:
    """Rows as views of the mapping. Arrow's own ``flatten`` copies, and ``take`` does."""
    rows: list[Noise] = []
    for batch in batches:
        column = batch.column(name)
        size = column.type.list_size
        values = np.frombuffer(column.values.buffers()[1], np.float16)
        first = (column.offset + column.values.offset // size) * size
        rows += list(values[first : first + len(column) * size].reshape(len(column), size))
    return rows


def _struct(column: pa.StructArray) -> Scores:
    return {field.name: _values(column.field(field.name)) for field in column.type}


def _values(column: pa.Array) -> npt.NDArray[Any]:
    """Numbers, NaN where there is none.

    Not by Arrow's ``to_numpy`` and ``fill_null``: where pandas is installed, they import it first,
    which takes as long as the first ten batches.
    """
    if column.null_count == 0:
        return np.from_dlpack(column)
    return np.array([math.nan if value is None else value for value in column.to_pylist()], "f4")


def _arrow_image(column: pa.ChunkedArray) -> Callable[[int], bytes]:
    def image(row: int) -> bytes:
        encoded: bytes = column[row].as_py()
        return encoded

    return image


def _read_tar(mapped: mmap.mmap, plan_id: str) -> PairColumns:
    samples = _tar_members(mapped)
    rows = [json.loads(mapped[start:stop]) for start, stop in (s["json"] for s in samples)]
    has_source = "source_noise.npy" in samples[0]
    return PairColumns(
        plan_id=plan_id,
        texts={name: [row[name] for row in rows] for name in _TEXTS},
        seeds=np.array([row["seed"] for row in rows], np.int64),
        source_noise=_tar_noise(mapped, samples, "source_noise.npy") if has_source else None,
        golden_noise=_tar_noise(mapped, samples, "golden_noise.npy"),
        numbers={name: _numbers([row[name] for row in rows]) for name in _NUMBERS},
        images={
            name: _tar_image(mapped, samples, name)
            for name in IMAGES
            if any(extension.startswith(f"{name}.") for extension in samples[0])
        },
    )


_Members = dict[str, tuple[int, int]]
"""Of one sample: where each file's bytes start and stop, by extension."""


def _tar_members(mapped: mmap.mmap) -> list[_Members]:
    samples: dict[str, _Members] = {}
    with tarfile.open(fileobj=mapped, mode="r:") as tar:
        for member in tar:
            sample_id, _, extension = member.name.partition(".")
            place = (member.offset_data, member.offset_data + member.size)
            samples.setdefault(sample_id, {})[extension] = place
    return list(samples.values())


def _tar_noise(mapped: mmap.mmap, samples: Sequence[_Members], name: str) -> list[Noise]:
    noises: list[Noise] = []
    for members in samples:
        start, stop = members[name]
        header = _NPY.match(mapped, start, stop)
        if header is None:
            raise ValueError(f"{name} holds no float16 values in rows")
        count = math.prod(int(size) for size in re.findall(rb"\d+", header[1]))
        noises.append(np.frombuffer(mapped, np.float16, count, header.end()))
    return noises


_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f2', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n",
    re.DOTALL,
)
"""What stands before the values. numpy compiles it as Python, which two threads at a time
were seen to break ("AST constructor recursion depth mismatch", CPython 3.11)."""


def _numbers(rows: Sequence[Mapping[str, float | None]]) -> Scores:
    return {
        name: np.array([math.nan if row[name] is None else row[name] for row in rows], np.float32)
        for name in rows[0]
    }


def _tar_image(mapped: mmap.mmap, samples: Sequence[_Members], name: str) -> Callable[[int], bytes]:
    def image(row: int) -> bytes:
        members = samples[row]
        extension = next(each for each in members if each.startswith(f"{name}."))
        start, stop = members[extension]
        return mapped[start:stop]

    return image


_READERS: Mapping[ShardFormat, Callable[[mmap.mmap, str], PairColumns]] = {
    "arrow": _read_arrow,
    "webdataset": _read_tar,
}
