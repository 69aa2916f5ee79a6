"""Columns of a stored pair: the contract with training code.

The columns have plain Arrow types, which ``datasets``, DuckDB, Polars and pyarrow all read. Noise
is flattened row-major. Its shape is in the schema's metadata.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.records import SCHEMA_VERSION, NoiseStats

Noise = npt.NDArray[np.float16]

NOISE_STATS = tuple(NoiseStats.model_fields)


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
    """Parameters of the Arrow schema of a data set."""

    latent_shape: tuple[int, ...]
    reward_names: tuple[str, ...]
    schema_version: int = SCHEMA_VERSION
    """Version written to the metadata; all readable versions have the same columns."""

    def arrow(self) -> pa.Schema:
        """Return the Arrow schema of unit objects and shards."""
        noise = pa.list_(pa.float16(), prod(self.latent_shape))
        rewards = pa.struct([(name, pa.float32()) for name in self.reward_names])
        stats = pa.struct([(name, pa.float32()) for name in NOISE_STATS])
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
            if name not in ("source_noise", "golden_noise")
        }
        pairs = []
        for row in range(batch.num_rows):
            values = {name: column[row] for name, column in plain.items()}
            values["noise_stats"] = NoiseStats(**values["noise_stats"])
            noise = golden[row]
            assert noise is not None, "golden_noise is not nullable"
            pairs.append(NoisePair(source_noise=source[row], golden_noise=noise, **values))
        return pairs


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
