"""Which prompts a build is made for: read, sieved, sampled, and all of it accounted for.

The list of dropped prompts, each with its reason."""

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
from pipeline.entry_point import entry_digest
from pipeline.identity import file_sha256, sha256
from pipeline.prompt_funnel import PromptFunnel, SourceFunnel
from pipeline.prompts.filters import (
    SAFE,
    FilterResult,
    drop_blank,
    drop_blocked,
    drop_repeated,
    drop_unsafe,
    read_block_list,
    sieve_prompts,
)
from pipeline.prompts.near_duplicates import drop_near_repeated
from pipeline.prompts.prompt import Drop, Sieve, SourcePrompt
from pipeline.prompts.sampling import drop_not_sampled
from pipeline.prompts.sources import read_source
from pipeline.prompts.token_limit import drop_too_long, token_limits
from pipeline.records import DropReason


@dataclass(frozen=True, kw_only=True)
class ChosenPrompts:
    """The prompts of a build, and what became of the others."""

    prompts: tuple[str, ...]
    """Distinct, in the order of the sources and their rows."""
    funnel: PromptFunnel
    dropped: bytes
    """The list of dropped prompts, each with its reason, as it is stored: Parquet."""


def choose_prompts(
    config: PromptsConfig, model: Path, text_limits: Mapping[str, int | None]
) -> ChosenPrompts:
    """Read all sources and keep what passes every filter.

    ``model`` is the folder in which the tokenizers lie that ``text_limits`` names, with the tokens
    of each, or None where it says them itself; both are looked at only where a limit is asked for.

    Raises ``PromptFileError`` for what cannot be read, ``PromptChoiceError`` where nothing is left
    or too little, and ``ModelError`` and ``EntryPointError`` for tokenizers and safety filter.
    """
    rows = [row for source in config.all_sources() for row in read_source(source)]
    sieved = sieve_prompts(rows, _sieves(config, model, text_limits))
    dropped = dropped_bytes(dropped_table(sieved.dropped))
    return ChosenPrompts(
        prompts=tuple(prompt.text for prompt in sieved.kept),
        funnel=_funnel(config, rows, sieved, dropped),
        dropped=dropped,
    )


def distinct_prompts(path: Path, column: str) -> list[str]:
    """The distinct prompts of a file, in its order. Raises ``PromptFileError``."""
    (source,) = PromptsConfig(path=str(path), column=column).all_sources()
    sieved = sieve_prompts(read_source(source), (drop_blank, drop_repeated))
    return [prompt.text for prompt in sieved.kept]


def _sieves(
    config: PromptsConfig, model: Path, text_limits: Mapping[str, int | None]
) -> Iterator[Sieve]:
    """In the order of ``DropReason``: what is cheap first, and what compares prompts last.

    A prompt must not be dropped because it resembles one that is itself dropped.
    """
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
        yield partial(drop_near_repeated, threshold=config.near_duplicates)
    weights = {s.name: s.weight for s in config.sources if s.weight is not None}
    if config.sample is not None or weights:
        yield partial(drop_not_sampled, size=config.sample, weights=weights, seed=config.seed)


def _funnel(
    config: PromptsConfig, rows: list[SourcePrompt], sieved: FilterResult, dropped: bytes
) -> PromptFunnel:
    read = Counter(row.source for row in rows)
    kept = Counter(prompt.source for prompt in sieved.kept)
    drops = Counter((prompt.source, drop.reason) for prompt, drop in sieved.dropped)
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
        verdicts={} if safety is None else _verdicts(sieved),
        dropped_sha256=sha256(dropped) if sieved.dropped else None,
    )


def _verdicts(sieved: FilterResult) -> dict[str, int]:
    """What was asked about is what is kept, and what was dropped for this or a later reason."""
    later = (DropReason.NEAR_REPEATED, DropReason.NOT_SAMPLED)
    counts = Counter({SAFE: len(sieved.kept)})
    for _, drop in sieved.dropped:
        if drop.reason in later:
            counts[SAFE] += 1
        elif drop.reason is DropReason.UNSAFE:
            counts[str(drop.detail)] += 1
    return dict(sorted(counts.items()))


def _settings(config: PromptsConfig) -> dict[str, Any]:
    """The section without what is only true of this machine, and without what is not set."""
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
