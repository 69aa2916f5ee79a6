"""Reading the pairs of one shard, whatever its format."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import ObjectNotFoundError
from pipeline.records import NoiseStats
from pipeline.storage.layout import ShardFormat
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.schema import NoisePair, PairSchema


def open_shard(store: ObjectStore, key: str) -> pa.NativeFile:
    """A shard as a file: memory-mapped from a folder, fetched whole from S3."""
    if isinstance(store, LocalStore):
        try:
            return pa.memory_map(str(store.root / key))
        except FileNotFoundError:
            raise ObjectNotFoundError(f"no object {key!r} in {store.url}") from None
    return pa.BufferReader(store.get(key))


def read_shard(
    file: pa.NativeFile, shard_format: ShardFormat, start: int = 0, stop: int | None = None
) -> Iterator[NoisePair]:
    """The pairs at positions ``start`` to ``stop`` of a shard, in order."""
    return _READERS[shard_format](file, start, stop)


def _read_arrow(file: pa.NativeFile, start: int, stop: int | None) -> Iterator[NoisePair]:
    shard = pa.ipc.open_file(file)
    schema = PairSchema.of(shard.schema)
    first = 0
    for index in range(shard.num_record_batches):
        batch = shard.get_batch(index)
        begin = max(start - first, 0)
        end = batch.num_rows if stop is None else min(stop - first, batch.num_rows)
        if begin < end:
            yield from schema.to_pairs(batch.slice(begin, end - begin))
        first += batch.num_rows
        if stop is not None and first >= stop:
            return


def _read_tar(file: pa.NativeFile, start: int, stop: int | None) -> Iterator[NoisePair]:
    for position, files in enumerate(_tar_samples(file)):
        if stop is not None and position >= stop:
            return
        if position >= start:
            yield _pair(files)


def _tar_samples(file: pa.NativeFile) -> Iterator[dict[str, bytes]]:
    """The files of each sample by extension; files of one sample stand together."""
    current, files = "", dict[str, bytes]()
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            sample_id, _, extension = member.name.partition(".")
            if files and sample_id != current:
                yield files
                files = {}
            current = sample_id
            content = tar.extractfile(member)
            assert content is not None, "shards hold files alone"
            files[extension] = content.read()
    if files:
        yield files


def _pair(files: Mapping[str, bytes]) -> NoisePair:
    values: dict[str, Any] = json.loads(files["json"])
    values["noise_stats"] = NoiseStats(**values["noise_stats"])
    source = files.get("source_noise.npy")
    return NoisePair(
        source_noise=None if source is None else _npy(source),
        golden_noise=_npy(files["golden_noise.npy"]),
        source_image=_image(files, "source_image"),
        golden_image=_image(files, "golden_image"),
        **values,
    )


def _npy(data: bytes) -> Any:
    return np.load(io.BytesIO(data), allow_pickle=False)


def _image(files: Mapping[str, bytes], name: str) -> bytes | None:
    return files.get(f"{name}.png") or files.get(f"{name}.webp")


_READERS: Mapping[ShardFormat, Callable[[pa.NativeFile, int, int | None], Iterator[NoisePair]]] = {
    "arrow": _read_arrow,
    "webdataset": _read_tar,
}
