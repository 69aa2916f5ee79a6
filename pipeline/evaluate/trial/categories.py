"""Categories of prompts, read from a column of the prompt file."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PromptFileError
from pipeline.identity import normalise_prompt
from pipeline.prompts.csv_table import table_rows
from pipeline.prompts.jsonl import JsonObject, jsonl_rows, text_field
from pipeline.prompts.sources import format_by_suffix

Categories = dict[str, tuple[str, ...]]
"""Maps each prompt to its categories."""


def read_categories(path: Path, column: str, category_column: str) -> Categories:
    """Read the categories of the prompts in a CSV or JSONL file, one for each row.

    Raises ``PromptFileError`` if the file has no such column or is of another format.
    """
    categories: Categories = {}
    for prompt, category in _rows(path, column, category_column):
        prompt = normalise_prompt(prompt)
        categories[prompt] = (*categories.get(prompt, ()), category)
    return categories


def _rows(path: Path, column: str, category_column: str) -> Iterator[tuple[str, str]]:
    """Yield the prompt and the category of each row that has a prompt."""
    match format_by_suffix(path):
        case "csv":
            for fields in table_rows(path, (column, category_column), ",", "csv"):
                if fields is not None:
                    yield fields[column], fields[category_column]
        case "jsonl":
            for row, where in jsonl_rows(path):
                prompt = None if row is None else text_field(row, column, where)
                if row is not None and prompt is not None:
                    yield prompt, _category(row, category_column, where)
        case _:
            raise PromptFileError(
                f"{path}: a {path.suffix or 'text'} file has no columns; --category-column takes "
                "one of a .csv or .jsonl file"
            )


def _category(row: JsonObject, column: str, where: str) -> str:
    if row.get(column) is None:
        raise PromptFileError(f"{where}: no column {column!r}; has {', '.join(map(repr, row))}")
    return str(row[column])
