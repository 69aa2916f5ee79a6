"""The columns of a stored pair: the contract with training code.

Plain Arrow types on purpose: ``datasets``, DuckDB and Polars read them as well as pyarrow. Noise is
flattened row-major; its shape stands in the schema's metadata.
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
    """One kept pair, as it is stored."""

    sample_id: str
    prompt: str
    prompt_id: str
    seed: int
    source_noise: Noise | None
    """Latent-shaped; None where the data set leaves it to be rebuilt from the seed."""
    golden_noise: Noise
    """Latent-shaped."""
    source_rewards: dict[str, float | None]
    golden_rewards: dict[str, float | None]
    noise_stats: NoiseStats
    source_image: bytes | None
    """An encoded picture; None unless the configuration asks for images."""
    golden_image: bytes | None

    @property
    def num_bytes(self) -> int:
        """Payload: noise, images and prompt, without the container's own bytes."""
        payloads = (self.source_image, self.golden_image, self.prompt.encode())
        noises = (self.source_noise, self.golden_noise)
        return sum(len(part) for part in payloads if part is not None) + sum(
            noise.nbytes for noise in noises if noise is not None
        )


@dataclass(frozen=True, kw_only=True)
class PairSchema:
    """What decides the Arrow schema of a data set."""

    latent_shape: tuple[int, ...]
    reward_names: tuple[str, ...]
    schema_version: int = SCHEMA_VERSION
    """The columns are the same in all versions that are read."""

    def arrow(self) -> pa.Schema:
        """The schema of unit objects and shards."""
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
        """Read back what ``arrow`` wrote."""
        rewards = schema.field("source_rewards").type
        return cls(
            latent_shape=tuple(json.loads(schema.metadata[b"latent_shape"])),
            reward_names=tuple(field.name for field in rewards),
            schema_version=int(schema.metadata[b"schema_version"]),
        )

    def to_batch(self, pairs: Sequence[NoisePair]) -> pa.RecordBatch:
        """Pairs as one record batch, in their order."""
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
        """The pairs of a record batch; noises are views of its memory."""
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
    """A column of noises; all are there, or all are left out."""
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
    # ``flatten`` respects the slice that the column may be; ``values`` would not.
    return list(column.flatten().to_numpy(zero_copy_only=True).reshape(-1, *shape))
