"""Reading of a shard's pairs. All parts of the project read shards through this module."""

import hashlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pipeline.errors import VerificationError
from pipeline.reader.arrow_columns import read_arrow
from pipeline.reader.columns import UNREADABLE, PairColumns
from pipeline.reader.shard_refs import ShardRef
from pipeline.reader.tar_columns import read_tar
from pipeline.records import NoiseStats
from pipeline.storage.formats.checked_bytes import CheckedBytes
from pipeline.storage.layout import ShardFormat
from pipeline.storage.local import LocalStore
from pipeline.storage.schema import Noise, NoisePair, PairSchema

_READERS: Mapping[ShardFormat, Callable[[CheckedBytes, str, PairSchema], PairColumns]] = {
    "arrow": read_arrow,
    "webdataset": read_tar,
}


def read_columns(content: CheckedBytes, ref: ShardRef) -> PairColumns:
    """Read the columns of a shard from its bytes.

    Raises ``VerificationError`` with the shard's name if they do not match its manifest.
    """
    try:
        columns = _READERS[ref.format](content, ref.plan_id, ref.schema)
    except UNREADABLE as error:
        raise VerificationError(f"{ref.url}: cannot be read: {error}") from error
    if columns.num_pairs != ref.info.num_samples:
        raise VerificationError(
            f"{ref.url}: {columns.num_pairs} pairs, {ref.info.num_samples} promised"
        )
    return columns


def open_whole(ref: ShardRef) -> PairColumns:
    """Check a complete shard against its SHA-256 and open it. Nothing is cached.

    Raises ``ObjectNotFoundError`` or ``VerificationError`` with the shard's name.
    """
    content = _content(ref)
    if hashlib.sha256(content.mapped).hexdigest() != ref.info.sha256:
        raise VerificationError(
            f"{ref.url}: not the bytes that its manifest promises; `npd repair` makes it again"
        )
    return read_columns(content, ref)


def read_pairs(columns: PairColumns, schema: PairSchema) -> Iterator[NoisePair]:
    """Yield the pairs of a shard in order. Noises are views of its bytes."""
    for row in range(columns.num_pairs):
        yield _pair(columns, row, schema.latent_shape)


def _content(ref: ShardRef) -> CheckedBytes:
    if not isinstance(ref.store, LocalStore):
        return CheckedBytes(ref.store.get(ref.info.key), ref.info, None, ref.url)
    with ref.store.open(ref.info.key) as file:
        return CheckedBytes(file, ref.info, None, ref.url)


def _pair(columns: PairColumns, row: int, latent_shape: tuple[int, ...]) -> NoisePair:
    numbers = {
        name: {key: float(values[row]) for key, values in scores.items()}
        for name, scores in columns.numbers.items()
    }

    def noise(rows: Callable[[int], Noise]) -> Noise:
        return rows(row).reshape(latent_shape)

    def image(name: str) -> bytes | None:
        return columns.images[name](row) if name in columns.images else None

    return NoisePair(
        sample_id=columns.texts["sample_id"][row],
        prompt=columns.texts["prompt"][row],
        prompt_id=columns.texts["prompt_id"][row],
        seed=int(columns.seeds[row]),
        source_noise=None if columns.source_noise is None else noise(columns.source_noise),
        golden_noise=noise(columns.golden_noise),
        source_rewards=_with_none(numbers["source_rewards"]),
        golden_rewards=_with_none(numbers["golden_rewards"]),
        noise_stats=NoiseStats(**numbers["noise_stats"]),
        source_image=image("source_image"),
        golden_image=image("golden_image"),
    )


def _with_none(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(score) else score for name, score in scores.items()}
