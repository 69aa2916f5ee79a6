"""Selection of a build's prompts: read all sources, apply the filters, and count the results."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.prompts import PromptsConfig
from pipeline.core.entry_point import entry_digest
from pipeline.core.identity import file_sha256, sha256
from pipeline.core.prompt_funnel import PromptFunnel, SourceFunnel
from pipeline.core.records import DropReason
from pipeline.prompts.filters import (
    SAFE,
    FilterResult,
    drop_blank,
    drop_blocked,
    drop_repeated,
    drop_unsafe,
    filter_prompts,
    read_block_list,
)
from pipeline.prompts.near_duplicates import drop_near_duplicates
from pipeline.prompts.prompt import Drop, PromptFilter, SourcePrompt
from pipeline.prompts.sampling import drop_not_sampled
from pipeline.prompts.sources import read_source
from pipeline.prompts.token_limit import drop_too_long, token_limits

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
"""Columns of the list of dropped prompts.

``row`` counts from 0 within its source. The last three are null unless the prompt repeats another.
"""


@dataclass(frozen=True, kw_only=True)
class ChosenPrompts:
    """The prompts of a build, with the counts and the list of the dropped ones."""

    prompts: tuple[str, ...]
    """Distinct prompts, in the order of the sources and their rows."""
    funnel: PromptFunnel
    dropped: bytes
    """List of the dropped prompts with their reasons, as stored (Parquet)."""


def choose_prompts(
    config: PromptsConfig, model: Path, text_limits: Mapping[str, int | None]
) -> ChosenPrompts:
    """Read all sources and keep the prompts that pass every filter.

    ``model`` is the folder of the model. ``text_limits`` maps the folder of each tokenizer in it to
    its token limit, or to None if the tokenizer defines the limit. Both are only used if the
    configuration limits the tokens.

    Raise ``PromptFileError`` if a source cannot be read, ``PromptChoiceError`` if no prompts or too
    few are left, and ``ModelError`` or ``EntryPointError`` for a tokenizer or the safety filter.
    """
    rows = [row for source in config.all_sources() for row in read_source(source)]
    result = filter_prompts(rows, _filters(config, model, text_limits))
    dropped = dropped_bytes(dropped_table(result.dropped))
    return ChosenPrompts(
        prompts=tuple(prompt.text for prompt in result.kept),
        funnel=_funnel(config, rows, result, dropped),
        dropped=dropped,
    )


def distinct_prompts(path: Path, column: str) -> list[str]:
    """Return the distinct prompts of a file, in order. Raise ``PromptFileError``."""
    (source,) = PromptsConfig(path=str(path), column=column).all_sources()
    result = filter_prompts(read_source(source), (drop_blank, drop_repeated))
    return [prompt.text for prompt in result.kept]


def _filters(
    config: PromptsConfig, model: Path, text_limits: Mapping[str, int | None]
) -> Iterator[PromptFilter]:
    """Yield the configured filters in the order of ``DropReason``."""
    # Cheap filters come first. Those that compare prompts come last, because a prompt must not be
    # dropped for its similarity to a prompt that another filter drops.
    yield drop_blank
    yield drop_repeated
    if config.block_list is not None:
        yield partial(drop_blocked, phrases=read_block_list(Path(config.block_list)))
    if config.too_long == "drop":
        limits = token_limits(model, text_limits, config.tokenizers, config.max_tokens)
        yield partial(drop_too_long, limits=limits)
    if config.safety is not None:
        yield partial(drop_unsafe, config=config.safety)
    if config.near_duplicates is not None:
        yield partial(drop_near_duplicates, threshold=config.near_duplicates)
    weights = {s.name: s.weight for s in config.sources if s.weight is not None}
    if config.sample is not None or weights:
        yield partial(drop_not_sampled, size=config.sample, weights=weights, seed=config.seed)


def _funnel(
    config: PromptsConfig, rows: list[SourcePrompt], result: FilterResult, dropped: bytes
) -> PromptFunnel:
    read = Counter(row.source for row in rows)
    kept = Counter(prompt.source for prompt in result.kept)
    drops = Counter((prompt.source, drop.reason) for prompt, drop in result.dropped)
    sources = tuple(
        SourceFunnel(
            name=name,
            rows=read[name],
            dropped={reason: drops[name, reason] for reason in DropReason if drops[name, reason]},
            kept=kept[name],
        )
        for name in read
    )
    block_list, safety = config.block_list, config.safety
    return PromptFunnel(
        sources=sources,
        settings=_settings(config),
        block_list_sha256=None if block_list is None else file_sha256(Path(block_list)),
        safety_sha256=None if safety is None else entry_digest(safety.entry, safety.code),
        verdicts={} if safety is None else _verdicts(result),
        dropped_sha256=sha256(dropped) if result.dropped else None,
    )


def _verdicts(result: FilterResult) -> dict[str, int]:
    """Return the number of prompts with each verdict of the safety filter."""
    # The safety filter classified the kept prompts and those that it or a later filter dropped.
    later = (DropReason.NEAR_REPEATED, DropReason.NOT_SAMPLED)
    counts = Counter({SAFE: len(result.kept)})
    for _, drop in result.dropped:
        if drop.reason in later:
            counts[SAFE] += 1
        elif drop.reason is DropReason.UNSAFE:
            counts[str(drop.detail)] += 1
    return dict(sorted(counts.items()))


def _settings(config: PromptsConfig) -> dict[str, Any]:
    """Return the section without unset values and without paths, which differ between machines."""
    settings = config.model_dump(
        mode="json",
        exclude_none=True,
        exclude={
            "path": True,
            "block_list": True,
            "safety": {"code"},
            "sources": {"__all__": {"path"}},
        },
    )
    return {name: value for name, value in settings.items() if value not in ([], {})}


def dropped_table(drops: Iterable[tuple[SourcePrompt, Drop]]) -> pa.Table:
    """Return the dropped prompts as a table with ``DROPPED_COLUMNS``."""
    # Column by column: there may be millions of rows.
    pairs = list(drops)
    columns = (
        (prompt.source for prompt, _ in pairs),
        (prompt.row for prompt, _ in pairs),
        (prompt.text for prompt, _ in pairs),
        (drop.reason.value for _, drop in pairs),
        (drop.detail for _, drop in pairs),
        (drop.resembles and drop.resembles.text for _, drop in pairs),
        (drop.resembles and drop.resembles.source for _, drop in pairs),
        (drop.resembles and drop.resembles.row for _, drop in pairs),
    )
    types = DROPPED_COLUMNS.types
    arrays = [
        pa.array(values, kind, size=len(pairs)) for values, kind in zip(columns, types, strict=True)
    ]
    return pa.table(arrays, schema=DROPPED_COLUMNS)


def dropped_bytes(table: pa.Table) -> bytes:
    """Return the list of dropped prompts as it is stored (Parquet)."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
