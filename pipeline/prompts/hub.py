"""A data set of the Hugging Face hub, streamed by ``datasets``: nothing is stored here."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.config.prompts import PromptSourceConfig
from pipeline.errors import PromptFileError
from pipeline.prompts.columnar import ROWS_AT_ONCE, check_column, texts_of

if TYPE_CHECKING:
    from datasets import IterableDataset

DEFAULT_SPLIT = "train"


def read_hub(source: PromptSourceConfig) -> Iterator[str | None]:
    """A row a row; null is no prompt.

    Raises ``PromptFileError``, which says what to fetch and how to name it where the hub cannot be
    reached.
    """
    assert source.hub is not None and source.revision is not None
    if Path(source.hub).exists():
        raise PromptFileError(
            f"{source.place}: a folder of that name lies here, which datasets would read in its "
            "place; run elsewhere, or name the folder's files by path"
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
        raise PromptFileError(f"{source.place}: {error}. {_by_hand(source)}") from error


def stream_data_set(
    name: str, column: str, *, where: str, revision: str | None, subset: str | None, split: str
) -> Iterator[str | None]:
    """The texts of a column of what ``datasets`` finds under a name: a repository, or a folder.

    Code of a repository is never run. Raises ``PromptFileError`` for a wrong column and a missing
    library, and what ``datasets`` raises, ``OSError`` or ``ValueError``.
    """
    try:
        from datasets import load_dataset  # seconds, which nothing else here should cost
    except ImportError as error:
        raise PromptFileError(
            f"{where}: to stream it needs the library datasets; pip install "
            "'noise-prompt-dataset[hub]'"
        ) from error
    found: IterableDataset = load_dataset(
        name, subset, split=split, revision=revision, streaming=True
    )
    if found.features is not None and column in found.features:
        found = found.select_columns([column])  # so that images are not decoded
    for table in found.with_format("arrow").iter(ROWS_AT_ONCE):
        assert isinstance(table, pa.Table)
        check_column(table.schema, column, where)
        for batch in table.to_batches():
            yield from texts_of(batch, column, where)


def _by_hand(source: PromptSourceConfig) -> str:
    assert source.hub is not None and source.revision is not None
    command = shlex.join(
        ["hf", "download", source.hub, "--repo-type", "dataset", "--revision", source.revision]
    )
    return (
        f"Without a network here, run `{command} --local-dir FOLDER` where there is one, put "
        'FOLDER on this machine, and write path = "FOLDER/…/*.parquet" in place of hub and revision'
    )
