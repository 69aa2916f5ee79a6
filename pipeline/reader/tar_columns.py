"""Columns of a webdataset shard."""

import math
import mmap
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pipeline.identity import canonical_json
from pipeline.reader.columns import IMAGES, TEXTS, PairColumns, Scores
from pipeline.reader.tar_members import Members, read_members
from pipeline.records import NoiseStats, Record
from pipeline.storage.formats.checked_bytes import CheckedBytes
from pipeline.storage.schema import NOISE_STATS, Noise, PairSchema

_PNG = b"\x89PNG"


class _Row(Record, strict=True):
    """Content of the ``.json`` file of a sample."""

    sample_id: str
    prompt: str
    prompt_id: str
    seed: int
    source_rewards: dict[str, float | None]
    golden_rewards: dict[str, float | None]
    noise_stats: NoiseStats


def read_tar(content: CheckedBytes, plan_id: str, schema: PairSchema) -> PairColumns:
    """Read the columns of a mapped tar file and check all of it. Raise one of ``UNREADABLE``."""
    content.check(0, content.num_bytes)
    mapped = content.mapped
    samples = read_members(mapped)
    files = [members for _, members in samples]
    stored = _check_alike(samples)
    rows = [_row(mapped, name, members) for name, members in samples]
    return PairColumns(
        plan_id=plan_id,
        content=content,
        texts={name: [getattr(row, name) for row in rows] for name in TEXTS},
        seeds=np.array([row.seed for row in rows], np.int64),
        source_noise=(
            _noise(mapped, files, "source_noise.npy", schema)
            if "source_noise.npy" in stored
            else None
        ),
        golden_noise=_noise(mapped, files, "golden_noise.npy", schema),
        numbers={
            "source_rewards": _numbers([row.source_rewards for row in rows], schema.reward_names),
            "golden_rewards": _numbers([row.golden_rewards for row in rows], schema.reward_names),
            "noise_stats": _numbers([vars(row.noise_stats) for row in rows], NOISE_STATS),
        },
        images={name: _image(mapped, files, name) for name in IMAGES if name in stored},
    )


def _check_alike(samples: Sequence[tuple[str, Members]]) -> set[str]:
    """Return the names of the files that every sample has. Pictures have no extension here.

    Raises ``ValueError`` if a sample's files differ from those of the first, or are unknown.
    """
    known = {"json", "golden_noise.npy", "source_noise.npy", *IMAGES}
    first = {_without_picture_format(extension) for extension in samples[0][1]}
    for name, members in samples:
        stored = [_without_picture_format(extension) for extension in members]
        if len(stored) != len(first) or set(stored) != first or not first <= known:
            raise ValueError(f"the files of sample {name} are {', '.join(members)}")
    return first


def _without_picture_format(extension: str) -> str:
    name, _, kind = extension.partition(".")
    return name if name in IMAGES and kind in ("png", "webp") else extension


def _row(mapped: bytes | mmap.mmap, sample_id: str, members: Members) -> _Row:
    start, stop = members["json"]
    text = mapped[start:stop]
    row = _Row.model_validate_json(text)
    # Other JSON parsers can read duplicate keys or another spelling differently, so only the
    # canonical form is accepted.
    if row.sample_id != sample_id or canonical_json(row.model_dump()) != text:
        raise ValueError(f"{sample_id}.json is not in the form in which it is written")
    return row


def _noise(
    mapped: bytes | mmap.mmap, samples: Sequence[Members], name: str, schema: PairSchema
) -> Callable[[int], Noise]:
    count = math.prod(schema.latent_shape)
    noises: list[Noise] = []
    for members in samples:
        start, stop = members[name]
        header = _NPY.match(mapped, start, stop)
        if header is None:
            raise ValueError(f"{name} holds no float16 values in rows")
        shape = tuple(int(size) for size in re.findall(rb"\d+", header[2]))
        if shape != schema.latent_shape:
            raise ValueError(f"{name} has the shape {shape}")
        first = header.start(1) + len(header[1]) + int.from_bytes(header[1], "little")
        if header.end() != first or stop - first != 2 * count:
            raise ValueError(f"{name} has {stop - first} bytes of values")
        noises.append(np.frombuffer(mapped, np.float16, count, first))
    return noises.__getitem__


_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)"
    rb"\{'descr': '<f2', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n",
    re.DOTALL,
)
"""Header of an .npy file. numpy evaluates it as Python code, which failed in two concurrent threads
("AST constructor recursion depth mismatch", CPython 3.11)."""


def _numbers(rows: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> Scores:
    """Return the numbers of all rows by name.

    Raises ``ValueError`` for other names and for numbers that float32 cannot hold exactly, because
    Arrow shards would store them rounded.
    """
    if any(row.keys() != set(names) for row in rows):
        raise ValueError(f"a sample has other numbers than {', '.join(names)}")
    columns = {}
    for name in names:
        exact = np.array([math.nan if row[name] is None else row[name] for row in rows])
        columns[name] = exact.astype(np.float32)
        if not np.array_equal(columns[name], exact, equal_nan=True):
            raise ValueError(f"{name} has numbers that are no float32")
    return columns


def _image(
    mapped: bytes | mmap.mmap, samples: Sequence[Members], name: str
) -> Callable[[int], bytes]:
    places: list[tuple[int, int]] = []
    for members in samples:
        extension = next(each for each in members if each.startswith(f"{name}."))
        start, stop = members[extension]
        if (mapped[start : start + len(_PNG)] == _PNG) != extension.endswith(".png"):
            raise ValueError(f"{extension} is a picture of another format")
        places.append((start, stop))

    def image(row: int) -> bytes:
        start, stop = places[row]
        return mapped[start:stop]

    return image
