"""Ledger: a Parquet file of all candidates, kept or not, with all their scores."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import VerificationError
from pipeline.core.records import SCHEMA_VERSION, Outcome, Record, Split, Status
from pipeline.storage.formats.pairs import (
    GOLDEN_REWARDS,
    JUDGED,
    NOISE_STATS,
    SOURCE_REWARDS,
    STATISTICS,
    UNREADABLE,
    has_judged,
)
from pipeline.storage.formats.parquet_columns import ParquetColumns
from pipeline.storage.formats.prompts import PROMPT_COLUMNS, PromptTable

Mask = npt.NDArray[np.bool_]

_ROWS_PER_GROUP = 65_536
_ROWS_PER_TABLE = 2048
"""Rows that are held as Python objects, which take far more memory than columns."""


class LedgerInfo(Record):
    """Key, digest and size of the ledger, the Parquet file of all candidates."""

    key: str
    sha256: str
    num_rows: int
    num_bytes: int
    """Size of the file in bytes."""


def ledger_schema(reward_names: Sequence[str], schema_version: int = SCHEMA_VERSION) -> pa.Schema:
    """Return the columns of a ledger of the given schema version."""
    rewards = pa.struct([(name, pa.float32()) for name in reward_names])
    stats = pa.struct([(name, pa.float64()) for name in STATISTICS])
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
    if schema_version >= 3:
        fields += since_version_3
    judged = [(JUDGED, pa.bool_())] if has_judged(schema_version) else []
    return pa.schema([*fields, *judged])


class LedgerWriter:
    """Writer that appends outcomes in their order and holds one row group in memory."""

    def __init__(
        self, path: Path, reward_names: Sequence[str], schema_version: int = SCHEMA_VERSION
    ) -> None:
        self._schema = ledger_schema(reward_names, schema_version)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []
        self._num_written = 0
        self.num_rows = 0

    def add(self, outcomes: Iterable[Outcome], prompts: Iterable[str]) -> None:
        """Append some outcomes, each with its prompt."""
        rows = _rows(outcomes, prompts)
        self._rows += rows
        self.num_rows += len(rows)
        if len(self._rows) >= _ROWS_PER_TABLE:
            self._convert()
        if self.num_rows - self._num_written >= _ROWS_PER_GROUP:
            self._flush()

    def _convert(self) -> None:
        self._tables.append(_table(self._rows, self._schema))
        self._rows = []

    def _flush(self) -> None:
        if self.num_rows > self._num_written:
            self._convert()
            # One chunk, so that the bytes do not depend on the tables before.
            self._writer.write_table(pa.concat_tables(self._tables).combine_chunks())
            self._tables, self._num_written = [], self.num_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After an error the file is incomplete. It is closed only to free it, and never stored.
        if error is None:
            self._flush()
        self._writer.close()


class Ledger:
    """Candidates of a plan in its order. Each column is read and validated when it is first used.

    A file whose bytes match their digest may still be forged. Everything that its manifest does
    not promise raises ``VerificationError`` with ``url``, here and where a column is used.
    """

    def __init__(
        self, source: bytes | BinaryIO, info: LedgerInfo, schema: pa.Schema, url: str
    ) -> None:
        self._url = url
        self._columns: dict[str, pa.ChunkedArray] = {}
        with self._readable():
            self._file = ParquetColumns(source, schema, info.num_bytes)
            if self._file.num_rows != info.num_rows:
                raise ValueError(f"{self._file.num_rows} rows, {info.num_rows} promised")
        self._schema = schema

    @property
    def num_rows(self) -> int:
        """Number of candidates."""
        return self._file.num_rows

    def read_all(self) -> None:
        """Read all columns, so that damage is found now."""
        for name in self._schema.names:
            self._column(name)

    def holds(self, first: int, outcomes: Sequence[Outcome], prompts: Iterable[str]) -> bool:
        """Return True if the rows from ``first`` on equal the outcomes, each with its prompt."""
        schema = self._schema
        rows = _table(_rows(outcomes, prompts), schema)
        # Both sides are compared after rounding to the types of the columns.
        stored = pa.table(
            [self._column(name).slice(first, len(rows)) for name in schema.names], schema
        )
        return bool(stored.equals(rows))

    def sample_ids(self) -> list[str]:
        """Return the sample id of each candidate."""
        ids: list[str] = self._column("sample_id").to_pylist()
        return ids

    def prompt_ids(self) -> list[str]:
        """Return the id of each candidate's prompt."""
        ids: list[str] = self._column("prompt_id").to_pylist()
        return ids

    def seeds(self) -> list[int]:
        """Return the seed of each candidate."""
        seeds: list[int] = self._column("seed").to_pylist()
        return seeds

    def splits(self) -> list[Split]:
        """Return the split of each candidate."""
        return [Split(name) for name in self._column("split").to_pylist()]

    def kept(self) -> Mask:
        """Return a mask of the kept candidates."""
        return self._with_status(Status.KEPT)

    def in_shards(self, split: Split | None = None) -> Mask:
        """Return a mask of the candidates whose pairs are in the shards, of one split or of all.

        They are kept or not judged. The shards hold them in the same order.
        """
        there = self._with_status(Status.KEPT, Status.UNJUDGED)
        if split is not None:
            there = there & _mask(pc.equal(self._column("split"), split.value))
        return there

    def judged(self) -> Mask:
        """Return a mask of the candidates in the sample that is judged; all before version 4."""
        if JUDGED not in self._schema.names:
            return np.ones(self.num_rows, bool)
        return _mask(self._column(JUDGED))

    def outcomes(self) -> list[tuple[str, str | None]]:
        """Return the status and the reason of each candidate."""
        columns = (self._column(name).to_pylist() for name in ("status", "reason"))
        return list(zip(*columns, strict=True))

    def _with_status(self, *statuses: Status) -> Mask:
        return _mask(pc.is_in(self._column("status"), pa.array([s.value for s in statuses])))

    def prompts_match(self, expression: str) -> Mask:
        """Return a mask of the prompts in which a regular expression matches anywhere.

        Each distinct prompt is searched only once.
        """
        search = re.compile(expression).search
        chunks = self._column("prompt").dictionary_encode().unify_dictionaries().chunks
        distinct = chunks[0].dictionary.to_pylist() if chunks else []
        found = np.array([search(text) is not None for text in distinct], bool)
        # The empty slice gives the result a type if the ledger has no rows.
        return np.concatenate([found[:0], *(found[chunk.indices.to_numpy()] for chunk in chunks)])

    def prompt_table(self, seeds_per_prompt: int) -> PromptTable:
        """Return the distinct prompts, each from the row of its first seed."""
        rows = pa.table({name: self._column(name) for name in PROMPT_COLUMNS.names})
        # All seeds of a prompt are adjacent in the plan.
        firsts = list(range(0, rows.num_rows, seeds_per_prompt))
        return PromptTable(rows.take(firsts).cast(PROMPT_COLUMNS).combine_chunks())

    def source_rewards(self) -> dict[str, npt.NDArray[np.float32]]:
        """Map each reward to the scores of the source images. Missing scores are NaN."""
        return self._numbers(SOURCE_REWARDS)

    def golden_rewards(self) -> dict[str, npt.NDArray[np.float32]]:
        """Map each reward to the scores of the golden images. Missing scores are NaN."""
        return self._numbers(GOLDEN_REWARDS)

    def noise_stats(self) -> dict[str, npt.NDArray[np.float64]]:
        """Map each statistic to its value for every golden noise. Missing values are NaN."""
        return self._numbers(NOISE_STATS)

    def proposals(self) -> list[str | None] | None:
        """Return the name of each golden noise. None before schema version 3."""
        if "proposal" not in self._schema.names:
            return None
        names: list[str | None] = self._column("proposal").to_pylist()
        return names

    def forward_evaluations(self) -> npt.NDArray[np.int64] | None:
        """Return the number of evaluations of each candidate. None before schema version 3."""
        if "forward_evaluations" not in self._schema.names:
            return None
        numbers: npt.NDArray[np.int64] = self._column("forward_evaluations").to_numpy()
        return numbers

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self._columns:
            with self._readable():
                self._columns[name] = self._file.column(name)
        return self._columns[name]

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            raise VerificationError(f"{self._url}: cannot be read: {error}") from error

    def _numbers(self, name: str) -> dict[str, npt.NDArray[Any]]:
        column = self._column(name)
        return {
            field.name: pc.fill_null(pc.struct_field(column, field.name), math.nan).to_numpy()
            for field in column.type
        }


def _mask(column: pa.ChunkedArray) -> Mask:
    mask: Mask = pc.fill_null(column, False).to_numpy()
    return mask


def _rows(outcomes: Iterable[Outcome], prompts: Iterable[str]) -> list[dict[str, Any]]:
    return [
        outcome.model_dump(mode="json", exclude={"num_bytes"})
        | {"prompt": prompt, JUDGED: outcome.judged}  # which a dump leaves out if it is True
        for outcome, prompt in zip(outcomes, prompts, strict=True)
    ]


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    # Numbers are rounded to the types of the columns.
    return pa.Table.from_pylist(rows, schema=schema)
