"""Webdataset shards: ``.npy`` noises, a ``.json`` of the other columns, encoded images, in a tar.

Members of a sample are adjacent and sorted by name. They have mtime 0 and no owner, so that the
same pairs give the same bytes. Nothing is pickled: ``webdataset`` reads it with ``.decode()``.

Tar readers differ in their treatment of links, sparse files, extended headers, duplicate names and
data after the end. A shard has none of these. Any tar file that this project would not write is
rejected, so that all readers find the same files.
"""

import io
import math
import mmap
import re
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from pipeline.core.identity import canonical_json
from pipeline.core.records import NoiseStats, Record
from pipeline.storage.formats.checked_bytes import CheckedBytes
from pipeline.storage.formats.pairs import (
    GOLDEN_NOISE,
    GOLDEN_REWARDS,
    IMAGES,
    NOISE_STATS,
    NOISES,
    SOURCE_NOISE,
    SOURCE_REWARDS,
    STATISTICS,
    TEXTS,
    Noise,
    NoisePair,
    Numbers,
    PairColumns,
    PairSchema,
)

_JSON, _SOURCE, _GOLDEN = "json", f"{SOURCE_NOISE}.npy", f"{GOLDEN_NOISE}.npy"
"""Extensions of a sample's files. Those of images are the column's name and the picture format."""
_PNG = b"\x89PNG"

_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)"
    rb"\{'descr': '<f2', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n",
    re.DOTALL,
)
"""Header of an .npy file. numpy evaluates it as Python code, which failed in two concurrent threads
("AST constructor recursion depth mismatch", CPython 3.11)."""

Members = dict[str, tuple[int, int]]
"""Maps the extension of each file of a sample to the start and stop of its bytes."""

_BLOCK_BYTES = 512
_END_BYTES = 2 * _BLOCK_BYTES
_FIELDS = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 8s 32s 32s 8s 8s 155s 12s")
"""Fields of a header: name, mode, uid, gid, size, time, checksum, type, link, magic, user, group,
major and minor device, prefix of the name, padding."""
_CHECKSUM = slice(148, 156)
_NAME = re.compile(rb"([0-9A-Za-z_-]+\.[a-z_]+(?:\.[a-z_]+)?)\0+")
_SIZE = re.compile(rb"[0-7]{11}\0")
_REGULAR_FILE = b"0"
_USTAR = b"ustar\x0000"


class _Row(Record, strict=True):
    """Content of the ``.json`` file of a sample."""

    sample_id: str
    prompt: str
    prompt_id: str
    seed: int
    source_rewards: dict[str, float | None]
    golden_rewards: dict[str, float | None]
    noise_stats: NoiseStats
    judged: Annotated[bool | None, Field(exclude_if=lambda value: value is None)] = None


def write_tar(sink: BinaryIO, batches: Iterable[pa.RecordBatch]) -> None:
    """Write all pairs of some record batches, in their order."""
    write_samples(
        sink, (pair for batch in batches for pair in PairSchema.of(batch.schema).to_pairs(batch))
    )


def write_samples(sink: BinaryIO, pairs: Iterable[NoisePair]) -> None:
    """Write some pairs, in their order."""
    # USTAR, because readers treat the extended headers of GNU and PAX differently.
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for pair in pairs:
            for name, data in sorted(members(pair).items()):
                info = tarfile.TarInfo(f"{pair.sample_id}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def members(pair: NoisePair) -> dict[str, bytes]:
    """Map each file extension of a pair to the file's content."""
    files = {
        _GOLDEN: _npy(pair.golden_noise),
        _JSON: canonical_json(
            _Row(**{name: getattr(pair, name) for name in _Row.model_fields}).model_dump()
        ),
    }
    if pair.source_noise is not None:
        files[_SOURCE] = _npy(pair.source_noise)
    for name in IMAGES:
        image: bytes | None = getattr(pair, name)
        if image is not None:
            files[f"{name}.{'png' if image.startswith(_PNG) else 'webp'}"] = image
    return files


def _npy(noise: Noise) -> bytes:
    buffer = io.BytesIO()
    # The reader accepts only the header of a row-major array.
    np.lib.format.write_array(buffer, np.ascontiguousarray(noise), allow_pickle=False)
    return buffer.getvalue()


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
        latent_shape=schema.latent_shape,
        content=content,
        texts={name: [getattr(row, name) for row in rows] for name in TEXTS},
        seeds=np.array([row.seed for row in rows], np.int64),
        noises={
            name: _noise(mapped, files, f"{name}.npy", schema)
            for name in NOISES
            if f"{name}.npy" in stored
        },
        numbers={
            SOURCE_REWARDS: _numbers([row.source_rewards for row in rows], schema.reward_names),
            GOLDEN_REWARDS: _numbers([row.golden_rewards for row in rows], schema.reward_names),
            NOISE_STATS: _numbers([vars(row.noise_stats) for row in rows], STATISTICS),
        },
        images={name: _image(mapped, files, name) for name in IMAGES if name in stored},
        judged=_judged(rows, schema),
    )


def _check_alike(samples: Sequence[tuple[str, Members]]) -> set[str]:
    """Return the names of the files that every sample has. Pictures have no extension here.

    Raises ``ValueError`` if a sample's files differ from those of the first, are unknown, or lack
    one that every sample has.
    """
    always, known = {_JSON, _GOLDEN}, {_JSON, _GOLDEN, _SOURCE, *IMAGES}
    first = {_without_picture_format(extension) for extension in samples[0][1]}
    for name, members in samples:
        stored = [_without_picture_format(extension) for extension in members]
        if len(stored) != len(first) or set(stored) != first or not always <= first <= known:
            raise ValueError(f"the files of sample {name} are {', '.join(members)}")
    return first


def _without_picture_format(extension: str) -> str:
    name, _, kind = extension.partition(".")
    return name if name in IMAGES and kind in ("png", "webp") else extension


def _row(mapped: bytes | mmap.mmap, sample_id: str, members: Members) -> _Row:
    start, stop = members[_JSON]
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
        # A view of the mapping: nothing is copied until a batch is made.
        noises.append(np.frombuffer(mapped, np.float16, count, first))
    return noises.__getitem__


def _numbers(rows: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> Numbers:
    """Return the numbers of all rows by name.

    Raises ``ValueError`` for other names and for numbers that float32 cannot hold exactly, because
    Arrow shards would store them rounded.
    """
    # All rows of an Arrow shard have the same keys, and both formats must hold the same pairs.
    if any(row.keys() != set(names) for row in rows):
        raise ValueError(f"a sample has other numbers than {', '.join(names)}")
    columns = {}
    for name in names:
        exact = np.array([math.nan if row[name] is None else row[name] for row in rows])
        columns[name] = exact.astype(np.float32)
        if not np.array_equal(columns[name], exact, equal_nan=True):
            raise ValueError(f"{name} has numbers that are no float32")
    return columns


def _judged(rows: Sequence[_Row], schema: PairSchema) -> npt.NDArray[np.bool_] | None:
    """Return the column ``judged``. Raises ``ValueError`` if it should or should not be there."""
    if any((row.judged is not None) != schema.has_judged for row in rows):
        raise ValueError("`judged` is in samples of another version, or missing in some")
    return np.array([row.judged for row in rows], np.bool_) if schema.has_judged else None


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


def read_members(data: bytes | mmap.mmap) -> list[tuple[str, Members]]:
    """Return the id and the file positions of each sample, in their order in the tar file.

    Raises ``ValueError`` for a tar file that this project does not write.
    """
    samples: list[tuple[str, Members]] = []
    for name, start, stop in _files(data):
        sample_id, _, extension = name.partition(".")
        if not samples or samples[-1][0] != sample_id:
            samples.append((sample_id, {}))
        if extension in samples[-1][1]:
            raise ValueError(f"it holds {name} twice")
        samples[-1][1][extension] = (start, stop)
    # Webdataset makes a sample of consecutive files, so a second group would be another sample with
    # the same key.
    if len({sample_id for sample_id, _ in samples}) < len(samples):
        raise ValueError("the files of a sample do not stand together")
    return samples


def _files(data: bytes | mmap.mmap) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each file with the start and stop of its bytes."""
    at, end = 0, len(data)
    while at + _BLOCK_BYTES <= end:
        header = data[at : at + _BLOCK_BYTES]
        if not any(header):
            # Some readers go on after the end, where they could find other files.
            if end - at < _END_BYTES or any(data[at:end]):
                raise ValueError(f"something stands behind its end, which is byte {at:,}")
            return
        name, num_bytes = _name_and_size(header, at)
        start = at + _BLOCK_BYTES
        if start + num_bytes > end:
            raise ValueError(f"{name} is cut off")
        yield name, start, start + num_bytes
        at = start + -(-num_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
    raise ValueError("it has no end")


def _name_and_size(header: bytes, at: int) -> tuple[str, int]:
    name, _, _, _, size, _, checksum, kind, link, magic, *_, prefix, _ = _FIELDS.unpack(header)
    # A checksum is computed with blanks in its own place.
    blank = header[: _CHECKSUM.start] + b" " * 8 + header[_CHECKSUM.stop :]
    if checksum.rstrip(b"\0 ") != b"%06o" % sum(blank):
        raise ValueError(f"the header at byte {at:,} has another checksum")
    found = _NAME.fullmatch(name)
    is_plain = kind == _REGULAR_FILE and magic == _USTAR and not any(link + prefix)
    if found is None or not is_plain or _SIZE.fullmatch(size) is None:
        raise ValueError(f"the member at byte {at:,} is no plain file of a sample")
    return found[1].decode(), int(size[:-1], 8)
