"""Parquet file of the distinct prompts of a plan: columns, writer and reader."""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.plan import Plan
from pipeline.core.identity import canonical_json, prompt_id, seeds_for, sha256, split_for
from pipeline.core.records import Candidate, Split
from pipeline.storage.formats.parquet_columns import ParquetColumns

PROMPT_COLUMNS = pa.schema(
    [("prompt_id", pa.string()), ("prompt", pa.string()), ("split", pa.string())]
)


class PromptTable:
    """Table of the distinct prompts of a plan. All candidates are derived from it."""

    def __init__(self, table: pa.Table) -> None:
        """Wrap a table. Raises ``ValueError`` if it has other columns than ``PROMPT_COLUMNS``."""
        if table.schema != PROMPT_COLUMNS:
            raise ValueError("its columns are not those of prompts")
        self.table = table

    @classmethod
    def of(cls, prompts: Sequence[str], fractions: Mapping[Split, float]) -> Self:
        """Return the table of distinct prompts whose splits have the given fractions."""
        names = [prompt_id(prompt) for prompt in prompts]
        columns = {
            "prompt_id": names,
            "prompt": list(prompts),
            "split": [split_for(name, fractions).value for name in names],
        }
        return cls(pa.table(columns, schema=PROMPT_COLUMNS))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a Parquet file of prompts.

        Raises ``ValueError`` for other columns and for a file that takes far more memory than its
        size, and pyarrow's errors, which include ``OSError`` for broken compression.
        """
        file = ParquetColumns(data, PROMPT_COLUMNS, len(data))
        columns = [file.column(name) for name in PROMPT_COLUMNS.names]
        return cls(pa.table(columns, schema=PROMPT_COLUMNS))

    def to_bytes(self) -> bytes:
        """Return the table as a Parquet file."""
        buffer = io.BytesIO()
        pq.write_table(self.table, buffer, compression="zstd")
        return buffer.getvalue()

    @property
    def prompts(self) -> list[str]:
        """Texts of the prompts, in the plan's order."""
        texts: list[str] = self.table["prompt"].to_pylist()
        return texts

    @property
    def splits(self) -> list[Split]:
        """Split of each prompt."""
        return [Split(name) for name in self.table["split"].to_pylist()]

    def candidates(self, plan: Plan, positions: Sequence[int]) -> Iterator[Candidate]:
        """Yield the candidates at ``positions``. All seeds of a prompt are adjacent in the plan."""
        per_prompt = plan.seeds_per_prompt
        for row, of_prompt in groupby(positions, lambda position: position // per_prompt):
            here = list(of_prompt)
            name = self.table["prompt_id"][row].as_py()
            prompt = self.table["prompt"][row].as_py()
            split = Split(self.table["split"][row].as_py())
            # A seed depends on the ones before it, which it must not repeat.
            seeds = seeds_for(plan.root_seed, name, max(here) % per_prompt + 1)
            for position in here:
                yield Candidate(
                    index=position,
                    prompt=prompt,
                    prompt_id=name,
                    split=split,
                    seed=seeds[position % per_prompt],
                )

    def is_of(self, plan: Plan) -> bool:
        """Return True if every column matches the prompts of ``plan``."""
        if self.table.num_rows != plan.num_prompts or self.sha256() != plan.prompts_sha256:
            return False
        # The digest covers the prompts only. The other columns are derived from them and compared.
        fractions = plan.settings.splits.fractions()
        return bool(self.table.equals(PromptTable.of(self.prompts, fractions).table))

    def sha256(self) -> str:
        """Return the digest of the prompts in order."""
        return sha256(canonical_json(self.prompts))
