"""Columns of a stored pair: the contract with training code, the same in every file format.

The columns have plain Arrow types, which ``datasets``, DuckDB, Polars and pyarrow all read. Noise
is flattened row-major. Its shape is in the schema's metadata.

A ``NoisePair`` is one row. ``PairColumns`` are the columns of an open shard: noises are views of
the file, and small columns are decoded once.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config.plan import Plan
from pipeline.core.records import NEWEST_SCHEMA_VERSION, SCHEMA_VERSION, NoiseStats
from pipeline.storage.formats.checked_bytes import CheckedBytes

Noise = npt.NDArray[np.float16]
Numbers = Mapping[str, npt.NDArray[np.float32]]
"""Maps each name to a float32 array of shape (rows,). Missing numbers are NaN."""

TEXTS = ("sample_id", "prompt", "prompt_id")
PROMPTS = ("prompt", "prompt_id")
"""Columns that repeat for every seed of a prompt."""
SEED = "seed"
SOURCE_NOISE, GOLDEN_NOISE = NOISES = ("source_noise", "golden_noise")
SOURCE_REWARDS, GOLDEN_REWARDS = REWARDS = ("source_rewards", "golden_rewards")
NOISE_STATS = "noise_stats"
JUDGED = "judged"
"""Column of plans that judge a sample (schema version 4): True if the pair has scores."""
NUMBERS = (*REWARDS, NOISE_STATS)
IMAGES = ("source_image", "golden_image")

STATISTICS = tuple(NoiseStats.model_fields)
"""Names of the numbers in ``NOISE_STATS``."""

UNREADABLE = (
    pa.ArrowException,
    ArithmeticError,
    LookupError,
    OSError,
    RecursionError,
    SystemError,
    TypeError,
    ValueError,
)
"""Errors of parsing a file whose bytes match their digest, because its maker damaged it or forged
it. pyarrow raises ``OSError`` for invalid compressed data, and json ``RecursionError``."""


def has_judged(schema_version: int) -> bool:
    """Return True if files of a schema version have the column ``judged``."""
    return schema_version >= NEWEST_SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class NoisePair:
    """One stored pair of source noise and golden noise, with its scores."""

    sample_id: str
    prompt: str
    prompt_id: str
    seed: int
    source_noise: Noise | None
    """Array of shape (C, H, W); None if the data set stores only the seed to rebuild it from."""
    golden_noise: Noise
    """Array of shape (C, H, W)."""
    source_rewards: dict[str, float | None]
    golden_rewards: dict[str, float | None]
    noise_stats: NoiseStats
    source_image: bytes | None
    """Encoded image; None unless the configuration stores images."""
    golden_image: bytes | None
    judged: bool | None = None
    """True if the pair has scores. None if the plan judges every candidate."""

    @property
    def num_bytes(self) -> int:
        """Payload in bytes: noise, images and prompt, without container overhead."""
        payloads = (self.source_image, self.golden_image, self.prompt.encode())
        noises = (self.source_noise, self.golden_noise)
        return sum(len(part) for part in payloads if part is not None) + sum(
            noise.nbytes for noise in noises if noise is not None
        )


@dataclass(frozen=True, kw_only=True)
class PairSchema:
    """Parameters of a data set's columns, and conversion of pairs to Arrow record batches."""

    latent_shape: tuple[int, ...]
    reward_names: tuple[str, ...]
    schema_version: int = SCHEMA_VERSION
    """Version written to the metadata. Since version 4 there is a column ``judged``."""

    @property
    def has_judged(self) -> bool:
        """True if there is a column ``judged``."""
        return has_judged(self.schema_version)

    def arrow(self) -> pa.Schema:
        """Return the Arrow schema of unit objects and shards."""
        noise = pa.list_(pa.float16(), prod(self.latent_shape))
        rewards = pa.struct([(name, pa.float32()) for name in self.reward_names])
        stats = pa.struct([(name, pa.float32()) for name in STATISTICS])
        judged = [pa.field(JUDGED, pa.bool_(), nullable=False)] if self.has_judged else []
        return pa.schema(
            [
                pa.field("sample_id", pa.string(), nullable=False),
                pa.field("prompt", pa.string(), nullable=False),
                pa.field("prompt_id", pa.string(), nullable=False),
                pa.field("seed", pa.int64(), nullable=False),
                pa.field("source_noise", noise),
                pa.field("golden_noise", noise, nullable=False),
                pa.field("source_rewards", rewards, nullable=False),
                pa.field("golden_rewards", rewards, nullable=False),
                pa.field("noise_stats", stats, nullable=False),
                pa.field("source_image", pa.binary()),
                pa.field("golden_image", pa.binary()),
                *judged,
            ],
            metadata={
                "schema_version": str(self.schema_version),
                "latent_shape": json.dumps(list(self.latent_shape)),
            },
        )

    @classmethod
    def of(cls, schema: pa.Schema) -> Self:
        """Parse a schema that ``arrow`` made."""
        rewards = schema.field("source_rewards").type
        return cls(
            latent_shape=tuple(json.loads(schema.metadata[b"latent_shape"])),
            reward_names=tuple(field.name for field in rewards),
            schema_version=int(schema.metadata[b"schema_version"]),
        )

    @classmethod
    def of_plan(cls, plan: Plan, latent_shape: Sequence[int]) -> Self:
        """Return the schema of a plan's unit objects and shards."""
        return cls(
            latent_shape=tuple(latent_shape),
            reward_names=tuple(plan.reward_names),
            schema_version=plan.schema_version,
        )

    def to_batch(self, pairs: Sequence[NoisePair]) -> pa.RecordBatch:
        """Convert pairs to one record batch, in their order."""
        schema = self.arrow()
        columns: dict[str, pa.Array] = {
            "source_noise": _noise_column([pair.source_noise for pair in pairs], schema),
            "golden_noise": _noise_column([pair.golden_noise for pair in pairs], schema),
            "noise_stats": pa.array(
                [pair.noise_stats.model_dump() for pair in pairs], schema.field("noise_stats").type
            ),
        }
        # The other columns have the values and names of the fields of a ``NoisePair``.
        for field in schema:
            if field.name not in columns:
                values = [getattr(pair, field.name) for pair in pairs]
                columns[field.name] = pa.array(values, field.type)
        return pa.record_batch([columns[field.name] for field in schema], schema=schema)

    def to_pairs(self, batch: pa.RecordBatch) -> list[NoisePair]:
        """Return the pairs of a record batch; noises are views of its memory."""
        source = _noise_rows(batch.column("source_noise"), self.latent_shape)
        golden = _noise_rows(batch.column("golden_noise"), self.latent_shape)
        plain: dict[str, list[Any]] = {
            name: batch.column(name).to_pylist()
            for name in batch.schema.names
            if name not in NOISES
        }
        pairs = []
        for row in range(batch.num_rows):
            values = {name: column[row] for name, column in plain.items()}
            values["noise_stats"] = NoiseStats(**values["noise_stats"])
            noise = golden[row]
            # The column is not nullable.
            assert noise is not None, "golden_noise is not nullable"
            pairs.append(NoisePair(source_noise=source[row], golden_noise=noise, **values))
        return pairs


@dataclass(frozen=True, kw_only=True)
class PairColumns:
    """All pairs of a shard by column. Row i of every column belongs to pair i.

    Access to a noise or an image raises ``VerificationError`` if its bytes are damaged.
    """

    plan_id: str
    latent_shape: tuple[int, ...]
    content: CheckedBytes
    texts: Mapping[str, Sequence[str]]
    """Maps each name in ``TEXTS`` to one text per row."""
    seeds: npt.NDArray[np.int64]
    noises: Mapping[str, Callable[[int], Noise]]
    """Maps each stored name in ``NOISES`` to a function from a row to its flat, read-only noise.
    Source noises that are not stored are rebuilt from the seeds."""
    numbers: Mapping[str, Numbers]
    """Maps each name in ``NUMBERS`` to its scores."""
    images: Mapping[str, Callable[[int], bytes]]
    """Maps each stored name in ``IMAGES`` to a function from a row to its encoded picture."""
    judged: npt.NDArray[np.bool_] | None
    """For each row, True if the pair has scores. None if the plan judges every candidate."""

    @property
    def num_pairs(self) -> int:
        """Number of pairs in the shard."""
        return len(self.seeds)

    @property
    def sample_ids(self) -> Sequence[str]:
        """Sample id of each pair."""
        return self.texts["sample_id"]

    def pairs(self) -> Iterator[NoisePair]:
        """Yield the pairs in order. Noises are views of the shard's bytes."""
        return map(self.pair, range(self.num_pairs))

    def pair(self, row: int) -> NoisePair:
        """Return one pair. Its noises are views of the shard's bytes."""
        texts = {name: column[row] for name, column in self.texts.items()}
        noises = {
            name: noise(row).reshape(self.latent_shape) for name, noise in self.noises.items()
        }
        images = {name: image(row) for name, image in self.images.items()}
        source, golden, stats = (
            {key: float(values[row]) for key, values in self.numbers[name].items()}
            for name in NUMBERS
        )
        return NoisePair(
            sample_id=texts["sample_id"],
            prompt=texts["prompt"],
            prompt_id=texts["prompt_id"],
            seed=int(self.seeds[row]),
            source_noise=noises.get("source_noise"),
            golden_noise=noises["golden_noise"],
            source_rewards=_with_none(source),
            golden_rewards=_with_none(golden),
            noise_stats=NoiseStats(**stats),
            source_image=images.get("source_image"),
            golden_image=images.get("golden_image"),
            judged=None if self.judged is None else bool(self.judged[row]),
        )


def _with_none(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(score) else score for name, score in scores.items()}


def _noise_column(noises: Sequence[Noise | None], schema: pa.Schema) -> pa.Array:
    """Return a column of noises, of which all or none are present."""
    column_type = schema.field("golden_noise").type
    present = [noise for noise in noises if noise is not None]
    if not present:
        return pa.nulls(len(noises), column_type)
    assert len(present) == len(noises), "a data set stores all source noises or none"
    values = np.concatenate([noise.reshape(-1) for noise in present])
    return pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float16()), type=column_type)


def _noise_rows(column: pa.FixedSizeListArray, shape: tuple[int, ...]) -> list[Noise | None]:
    if column.null_count:
        return [None] * len(column)
    # The column may be a slice. ``flatten`` respects its bounds, ``values`` does not.
    return list(column.flatten().to_numpy(zero_copy_only=True).reshape(-1, *shape))
