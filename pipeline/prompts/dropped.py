"""The list of dropped prompts, each with its reason."""

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.prompts.prompt import Drop, SourcePrompt

DROPPED_COLUMNS = pa.schema(
    [
        ("source", pa.string()),
        ("row", pa.int64()),
        ("prompt", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("resembles", pa.string()),
        ("resembles_source", pa.string()),
        ("resembles_row", pa.int64()),
    ]
)
"""``row`` counts from 0 within its source; what ``resembles`` says is null where nothing is."""

_BATCH = 10_000


def dropped_table(drops: Iterable[tuple[SourcePrompt, Drop]]) -> pa.Table:
    """The drops as a table, a row each."""
    rows = [
        {
            "source": prompt.source,
            "row": prompt.row,
            "prompt": prompt.text,
            "reason": drop.reason.value,
            "detail": drop.detail,
            "resembles": drop.resembles and drop.resembles.text,
            "resembles_source": drop.resembles and drop.resembles.source,
            "resembles_row": drop.resembles and drop.resembles.row,
        }
        for prompt, drop in drops
    ]
    return pa.Table.from_pylist(rows, schema=DROPPED_COLUMNS)


def dropped_bytes(table: pa.Table) -> bytes:
    """The list as it is stored: Parquet."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
