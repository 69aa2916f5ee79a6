"""The same rows in every format: the same prompts, and every row is kept or counted as dropped."""

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.prompts import PromptsConfig
from pipeline.core.errors import PromptChoiceError, PromptFileError
from pipeline.core.identity import normalise_prompt
from pipeline.core.records import DropReason
from pipeline.prompts.choosing import DROPPED_COLUMNS, ChosenPrompts, choose_prompts
from pipeline.prompts.prompt import is_visible

# Quotes, all kinds of separators, and invisible characters.
_SIGNS = "\"',;\t a\u00e9b\\{}#\x0b\x0c\x1c\x85\u2028\u2029\u200b\ufeff二🙂"
_ROWS = st.lists(st.text(st.sampled_from(_SIGNS), max_size=8), min_size=1, max_size=8)
_BREAKS = st.lists(st.text(st.sampled_from(_SIGNS + "\n\r\0"), max_size=8), min_size=1, max_size=8)


def _text(rows: Sequence[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def _jsonl(rows: Sequence[str]) -> bytes:
    return "".join(json.dumps({"id": 1, "prompt": row}) + "\n" for row in rows).encode()


def _csv(rows: Sequence[str], delimiter: str = ",") -> bytes:
    file = io.StringIO()
    table = [("prompt", "id"), *((row, "1") for row in rows)]
    csv.writer(file, delimiter=delimiter).writerows(table)
    return file.getvalue().encode()


def _tsv(rows: Sequence[str]) -> bytes:
    return "".join(f"{row}\t1\n" for row in ("prompt", *rows)).encode()


def _table(rows: Sequence[str]) -> pa.Table:
    return pa.table({"id": range(len(rows)), "prompt": pa.array(rows, pa.string())})


def _parquet(rows: Sequence[str]) -> bytes:
    file = io.BytesIO()
    pq.write_table(_table(rows), file, row_group_size=3)
    return file.getvalue()


def _arrow(rows: Sequence[str]) -> bytes:
    file = io.BytesIO()
    table = _table(rows)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return file.getvalue()


def _tar(rows: Sequence[str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number, row in enumerate(rows):
            for suffix, data in (("jpg", b"\xff" * 9), ("json", json.dumps({"prompt": row}))):
                content = data if isinstance(data, bytes) else data.encode()
                member = tarfile.TarInfo(f"{number:03d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


Write = Callable[[Sequence[str]], bytes]

# Arbitrary text.
_TABLES: dict[str, tuple[Write, dict[str, str]]] = {
    "p.jsonl": (_jsonl, {}),
    "p.csv": (_csv, {}),
    "p.parquet": (_parquet, {}),
    "p.arrow": (_arrow, {}),
    "p.tar": (_tar, {"member": "json"}),
    "q.tsv": (lambda rows: _csv(rows, "\t"), {"quotes": "csv"}),
    "p.jsonl.gz": (lambda rows: gzip.compress(_jsonl(rows)), {}),
    "p.csv.zst": (lambda rows: pa.compress(_csv(rows), codec="zstd", asbytes=True), {}),
}


def _read(folder: str, name: str, content: bytes, options: dict[str, str]) -> ChosenPrompts | str:
    path = Path(folder) / name
    path.write_bytes(content)
    source = {"name": "s", "path": str(path), **options}
    try:
        return choose_prompts(PromptsConfig.model_validate({"sources": [source]}), Path(), {})
    except (PromptFileError, PromptChoiceError) as error:
        return str(error)


def _check(name: str, content: bytes, options: dict[str, str], rows: Sequence[str]) -> None:
    with TemporaryDirectory() as folder:
        chosen = _read(folder, name, content, options)
        texts = [normalise_prompt(row) for row in rows]
        seen = [text for text in texts if is_visible(text)]
        if not seen:
            assert isinstance(chosen, str) and chosen.endswith("contains no prompts"), name
            return
        assert isinstance(chosen, ChosenPrompts), (name, chosen)
        assert list(chosen.prompts) == list(dict.fromkeys(seen)), name
        (source,) = chosen.funnel.sources
        assert source.rows == len(rows) == source.kept + sum(source.dropped.values()), name
        assert source.dropped.get(DropReason.BLANK, 0) == len(texts) - len(seen), name
        dropped = pq.read_table(io.BytesIO(chosen.dropped))
        assert dropped.schema == DROPPED_COLUMNS
        lost = dict(zip(dropped["row"].to_pylist(), dropped["prompt"].to_pylist(), strict=True))
        assert len(lost) == sum(source.dropped.values())
        assert all(text == texts[row] for row, text in lost.items())


@settings(max_examples=25)
@given(_ROWS)
def test_rows_without_line_breaks_are_the_same_in_every_format(rows: list[str]) -> None:
    for name, (write, options) in _TABLES.items():
        _check(name, write(rows), options, rows)
    flat = [row.replace("\t", " ") for row in rows]
    _check("p.txt", _text(_bare(rows)), {}, _bare(rows))
    _check("p.tsv", _tsv(flat), {"quotes": "none"}, flat)


@settings(max_examples=25)
@given(_BREAKS)
def test_rows_with_line_breaks_are_the_same_in_every_table(rows: list[str]) -> None:
    for name, (write, options) in _TABLES.items():
        if "csv" in name or "tsv" in name:
            kept = [row.replace("\0", "") for row in rows]
            _check(name, write(kept), options, kept)
        else:
            _check(name, write(rows), options, rows)


def _bare(rows: Sequence[str]) -> list[str]:
    """The rows as a text file holds them: a mark at its very beginning is its encoding's."""
    return ["first", *rows]


@settings(max_examples=25)
@given(_ROWS)
def test_csv_rows_are_those_that_pyarrow_reads(rows: list[str]) -> None:
    content = _csv(rows)
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    types = pyarrow.csv.ConvertOptions(column_types={"prompt": pa.string()})
    table = pyarrow.csv.read_csv(io.BytesIO(content), parse_options=options, convert_options=types)
    _check("p.csv", content, {}, table["prompt"].to_pylist())
