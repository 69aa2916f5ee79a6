"""Ledger: a Parquet file of all candidates, kept or not, with all their scores."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import SCHEMA_VERSION, Outcome
from pipeline.storage.schema import NOISE_STATS

_ROWS_PER_GROUP = 65_536


def ledger_schema(reward_names: Sequence[str], schema_version: int = SCHEMA_VERSION) -> pa.Schema:
    """Return the columns of a ledger of the given schema version."""
    rewards = pa.struct([(name, pa.float32()) for name in reward_names])
    stats = pa.struct([(name, pa.float64()) for name in NOISE_STATS])
    fields = [
        ("candidate", pa.int64()),
        ("sample_id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("split", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("truncated", pa.bool_()),
        ("source_rewards", rewards),
        ("golden_rewards", rewards),
        ("noise_stats", stats),
    ]
    losing_proposal = [
        ("name", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("golden_rewards", rewards),
        ("noise_stats", stats),
        ("forward_evaluations", pa.int64()),
    ]
    since_version_3 = [
        ("proposal", pa.string()),
        ("forward_evaluations", pa.int64()),
        ("losing_proposals", pa.list_(pa.struct(losing_proposal))),
    ]
    return pa.schema(fields if schema_version < 3 else [*fields, *since_version_3])


def ledger_rows(outcomes: Iterable[Outcome], prompts: Iterable[str]) -> list[dict[str, Any]]:
    """Convert outcomes, each with its prompt, to rows of a ledger."""
    return [
        outcome.model_dump(mode="json", exclude={"num_bytes"}) | {"prompt": prompt}
        for outcome, prompt in zip(outcomes, prompts, strict=True)
    ]


def ledger_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Convert rows to a table; numbers are rounded to the types of the columns."""
    return pa.Table.from_pylist(rows, schema=schema)


class LedgerWriter:
    """Writer that appends outcomes in their order and holds one row group in memory."""

    def __init__(
        self, path: Path, reward_names: Sequence[str], schema_version: int = SCHEMA_VERSION
    ) -> None:
        self._schema = ledger_schema(reward_names, schema_version)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self.num_rows = 0

    def add(self, outcomes: Iterable[Outcome], prompts: Iterable[str]) -> None:
        """Append some outcomes, each with its prompt."""
        rows = ledger_rows(outcomes, prompts)
        self._rows += rows
        self.num_rows += len(rows)
        if len(self._rows) >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(ledger_table(self._rows, self._schema))
            self._rows = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush()
        self._writer.close()
