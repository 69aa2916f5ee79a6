"""Parquet files of kilobytes that decode to gigabytes are rejected before memory is taken."""

import io
import os
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.storage.formats import parquet_pages
from pipeline.storage.formats.ledger import ledger_schema
from pipeline.storage.formats.parquet_columns import ParquetColumns
from pipeline.storage.formats.parquet_pages import page_sizes
from tests.peak_memory import peak_memory_below

SCHEMA = ledger_schema(["scene", "oracle"])
LONG = os.urandom(20_000).hex()
LOSING = {"name": "p/0", "status": "kept", "reason": None, "forward_evaluations": 1}


def _table(num_rows: int, **columns: Any) -> pa.Table:
    """A ledger with some columns, and others with missing or repeated values."""
    given = {name: pa.chunked_array([column]) for name, column in columns.items()}
    return pa.table(
        [given.get(field.name, pa.nulls(num_rows, field.type)) for field in SCHEMA], SCHEMA
    )


def _written(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **{"compression": "zstd", **options})
    return sink.getvalue()


def _repeated(value: Any, name: str, num_rows: int) -> bytes:
    kind = SCHEMA.field(name).type
    some = pa.array([value] * 100, kind)
    column = pa.chunked_array([some] * (num_rows // 100))
    columns = [column if each.name == name else pa.nulls(num_rows, each.type) for each in SCHEMA]
    return _written(pa.table(columns, SCHEMA), dictionary_pagesize_limit=2**28)


def _in_groups_of_one_row() -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA) as writer:
        for _ in range(100):
            writer.write_table(_table(1))
    return sink.getvalue()


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a text that repeats": (
        lambda: _repeated(LONG, "prompt", 5000),
        "200,000,000 bytes of prompt",
    ),
    "a nested text that repeats": (
        lambda: _repeated([{**LOSING, "name": LONG}], "losing_proposals", 5000),
        "200,020,000 bytes of losing_proposals",
    ),
    "long lists of nothing": (
        lambda: _repeated([None] * 5000, "losing_proposals", 500),
        "500 rows of .* values",
    ),
    "a text that compresses well": (
        lambda: _written(_table(100, prompt=pa.array(["a" * 500_000] * 100)), use_dictionary=False),
        "100 rows of .* bytes",
    ),
    "rows without values": (lambda: _written(_table(500_000)), "500,000 rows"),
    "row groups of one row": (_in_groups_of_one_row, "100 row groups"),
}


def _read_all(data: bytes) -> list[pa.ChunkedArray]:
    columns = ParquetColumns(data, SCHEMA, len(data))
    return [columns.column(name) for name in SCHEMA.names]


@pytest.mark.parametrize(("make", "message"), BOMBS.values(), ids=BOMBS.keys())
def test_bomb_is_rejected_before_memory_is_taken(make: Callable[[], bytes], message: str) -> None:
    data = make()
    with peak_memory_below(60_000_000), pytest.raises(ValueError, match=message):
        _read_all(data)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_columns_are_those_that_pyarrow_reads(version: str, use_dictionary: bool) -> None:
    rows = 3000
    table = _table(
        rows,
        candidate=pa.array(range(rows)),
        prompt=pa.array([f"prompt {row // 7}" if row % 5 else None for row in range(rows)]),
        losing_proposals=pa.array(
            [[LOSING] * (row % 3) or None for row in range(rows)],
            SCHEMA.field("losing_proposals").type,
        ),
    )
    options = {"data_page_version": version, "use_dictionary": use_dictionary}
    # The small limit makes the writer change to plain pages in the middle of a column.
    data = _written(
        table, row_group_size=1100, data_page_size=500, dictionary_pagesize_limit=900, **options
    )
    assert pa.table(_read_all(data), SCHEMA).equals(pq.read_table(io.BytesIO(data)))


def test_many_small_pages_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    table = _table(50, candidate=pa.array(range(50)))
    data = _written(table, max_rows_per_page=10, use_dictionary=False)
    _read_all(data)
    monkeypatch.setattr(parquet_pages, "_MAX_PAGES", 4)
    with pytest.raises(ValueError, match="more than 4 pages"):
        _read_all(data)


def test_sizes_of_pages_are_those_of_the_footer() -> None:
    data = _written(_table(5000, candidate=pa.array(range(5000))), row_group_size=2000)
    metadata = pq.read_metadata(io.BytesIO(data))
    sizes = page_sizes(io.BytesIO(data), metadata)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    assert sizes.values == sum(chunk.num_values for chunk in chunks)
    # The footer also counts the headers of the pages.
    assert 0 < sizes.num_bytes < sum(chunk.total_uncompressed_size for chunk in chunks)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_headers_of_pages_are_errors(seed: int) -> None:
    data = bytearray(_written(_table(2000, candidate=pa.array(range(2000)))))
    chunk = pq.read_metadata(io.BytesIO(data)).row_group(0).column(0)
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    errors = 0
    for index in range(seed, 24, 4):
        for value in (0, 1, 0x15, 0x7F, 0x80, 0xFF):
            changed = bytearray(data)
            changed[at + index] = value
            try:
                columns = _read_all(bytes(changed))
            except (ValueError, OSError, pa.ArrowException):
                errors += 1
            else:
                # Some bytes, such as statistics, do not matter.
                assert all(len(column) == 2000 for column in columns)
    assert errors >= 6


def test_page_that_holds_more_values_than_its_footer_promises_is_rejected() -> None:
    """The number of values in the header is changed, as a maker of such a file can do."""
    few = _written(_table(100, candidate=pa.array(range(100))), use_dictionary=False)
    chunk = pq.read_metadata(io.BytesIO(few)).row_group(0).column(0)
    header = parquet_pages._Header(few[chunk.data_page_offset :])
    header.struct()
    # 100 as a zigzag number has two bytes; 100 + 4096 has two as well.
    at = few.index(b"\xc8\x01", chunk.data_page_offset)
    assert at < chunk.data_page_offset + header.position
    forged = few[:at] + b"\xc8\x41" + few[at + 2 :]
    with pytest.raises(ValueError, match="candidate has 4,196 values, and 100 by its footer"):
        _read_all(forged)
