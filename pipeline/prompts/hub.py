"""Prompts of a data set on the Hugging Face hub, streamed by ``datasets`` without a local copy."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.config.prompts import PromptSourceConfig
from pipeline.core.errors import PromptFileError
from pipeline.models.source import hub_proxy_note
from pipeline.prompts.columnar import ROWS_AT_ONCE, check_column, texts_of
from pipeline.prompts.limits import FREE_BYTES, MAX_RATIO, Expansion

if TYPE_CHECKING:
    from datasets import IterableDataset

DEFAULT_SPLIT = "train"


def read_hub(source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each row, or None if it is null.

    Raise ``PromptFileError``. If the hub cannot be reached, the error gives a command to download
    the data set on another machine.
    """
    assert source.hub is not None and source.revision is not None
    if Path(source.hub).exists():
        raise PromptFileError(
            f"{source.place}: the current folder contains a folder of that name, which datasets "
            "would read instead; run in another folder, or give the files of the folder as path"
        )
    try:
        yield from stream_data_set(
            source.hub,
            source.column,
            where=source.place,
            revision=source.revision,
            subset=source.subset,
            split=source.split or DEFAULT_SPLIT,
        )
    except (OSError, ValueError) as error:
        if isinstance(error, PromptFileError):
            raise
        why = f"{error}{hub_proxy_note()}"
        raise PromptFileError(f"{source.place}: {why}. {_by_hand(source)}") from error


def stream_data_set(
    name: str, column: str, *, where: str, revision: str | None, subset: str | None, split: str
) -> Iterator[str | None]:
    """Yield the texts of a column of a repository or folder that ``datasets`` can load.

    Code of a repository is never run. Raise ``PromptFileError`` for a wrong column or if
    ``datasets`` is not installed, and the ``OSError`` or ``ValueError`` of ``datasets``.
    """
    try:
        from datasets import load_dataset  # takes seconds, and only this function needs it
    except ImportError as error:
        raise PromptFileError(
            f"{where}: streaming needs the package datasets; pip install "
            "'noise-prompt-dataset[hub]'"
        ) from error
    found: IterableDataset = load_dataset(
        name, subset, split=split, revision=revision, streaming=True
    )
    if found.features is not None and column in found.features:
        found = found.select_columns([column])  # so that images are not decoded
    for table in found.with_format("arrow").iter(ROWS_AT_ONCE):
        # The features may be unknown before the first rows are read, so the column is checked here.
        assert isinstance(table, pa.Table)
        check_column(table.schema, column, where)
        for batch in table.to_batches():
            yield from texts_of(batch, column, Expansion(where, FREE_BYTES * MAX_RATIO))


def _by_hand(source: PromptSourceConfig) -> str:
    assert source.hub is not None and source.revision is not None
    command = shlex.join(
        ["hf", "download", source.hub, "--repo-type", "dataset", "--revision", source.revision]
    )
    return (
        f"If this machine has no network, run `{command} --local-dir FOLDER` on one that has, copy "
        'FOLDER to this machine, and set path = "FOLDER/…/*.parquet" instead of hub and revision'
    )
