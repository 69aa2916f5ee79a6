"""The section ``[prompts]``: sources of prompts, filters, and candidates per prompt."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import (
    Name,
    PositiveInt,
    Repository,
    Section,
    Seed,
    refuse_unpinned,
)

PromptFormat = Literal["text", "jsonl", "csv", "tsv", "parquet", "arrow", "webdataset"]

Quotes = Literal["csv", "none"]

ONLY_SOURCE = "prompts"
"""Name of the only source in the short form, ``[prompts] path = …``."""


class PromptSourceConfig(Section):
    """A source of prompts: files on this machine, or a data set on the Hugging Face hub."""

    name: Name
    """Name of the source in counts and in the list of dropped prompts."""
    path: str | None = None
    """File, pattern such as shards/*.tar, or folder written by save_to_disk of datasets."""
    hub: Repository | None = None
    """Data set on the Hugging Face hub, owner/name, instead of path; it is streamed."""
    revision: str | None = None
    """Commit of the data set on the hub, 40 hexadecimal digits."""
    subset: str | None = None
    """Name of the configuration, for a data set on the hub that has several."""
    split: str | None = None
    """Split of the data set; by default train on the hub, and the only split of a folder."""
    format: PromptFormat | None = None
    """Format of the files; by default derived from their suffixes."""
    column: str = "prompt"
    """Field that holds the prompt, in everything but text."""
    member: str = "txt"
    """Suffix of the tar member that holds the prompt (webdataset); json uses its field column."""
    quotes: Quotes | None = None
    """Quoting in CSV and TSV; none keeps quotes as text. Defaults to csv in CSV and none in TSV."""
    limit: PositiveInt | None = None
    """Maximum number of rows; the first ones are read. By default all."""
    weight: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Share of this source relative to the other weights; set it for all sources or for none."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("set either path or hub, which both name the place of the prompts")
        if self.hub is None and self.subset is not None:
            raise ValueError("subset belongs to hub: files have no subsets")
        refuse_unpinned(self.hub, self.revision, "datasets/")
        return self

    @property
    def place(self) -> str:
        """Path or hub repository of the source, for messages."""
        return f"{self.hub}@{self.revision}" if self.path is None else self.path


class SafetyConfig(Section):
    """A custom filter that classifies prompts as safe or unsafe."""

    entry: str
    """Class of the filter, as module:Class; docs/prompts.md has an example."""
    code: str | None = None
    """Folder that holds the module; by default the import path of Python is searched."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Maps keyword arguments of the class to their values."""


class PromptsConfig(Section):
    """Sources of prompts, filters, and the number of candidates per prompt."""

    path: str | None = None
    """File with the prompts: short form of a single source, with format and column."""
    format: PromptFormat | None = None
    """Format of the file; by default derived from its suffix."""
    column: str = "prompt"
    """Field that holds the prompt, in everything but text."""
    sources: Annotated[tuple[PromptSourceConfig, ...], Field(strict=False)] = ()
    """Several sources, instead of path; a repeated prompt counts for the first of them."""
    block_list: str | None = None
    """File of words and phrases, one per line; prompts that contain one are dropped."""
    too_long: Literal["keep", "drop"] = "keep"
    """Handling of prompts that exceed the model's token limit; kept prompts count as truncated."""
    max_tokens: PositiveInt | None = None
    """Maximum length in tokens, special tokens included; by default the model's limit."""
    tokenizers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Tokenizers to check, such as tokenizer_2; a prompt is too long if all would truncate it."""
    safety: SafetyConfig | None = None
    """Custom filter; prompts that it classifies as unsafe are dropped."""
    near_duplicates: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """Minimum similarity to an earlier prompt to be dropped; by default only equal ones are."""
    sample: PositiveInt | None = None
    """Number of prompts to sample after all filters, by a hash with the seed; by default all."""
    seeds_per_prompt: PositiveInt = 1
    """Number of candidates per prompt."""
    seed: Seed = 0
    """Root seed, from which the seeds of all candidates and the sample are derived."""

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if (self.path is None) == (not self.sources):
            raise ValueError("set either path or [[prompts.sources]], which both name the prompts")
        if self.sources and self.model_fields_set & {"format", "column"}:
            raise ValueError("format and column belong into each of [[prompts.sources]]")
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources have the name {twice[0]!r}")
        weights = [source.weight is None for source in self.sources]
        if any(weights) and not all(weights):
            raise ValueError("some sources have a weight and some have none; set all or none")
        return self

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.too_long == "keep" and (self.max_tokens is not None or self.tokenizers):
            raise ValueError('max_tokens and tokenizers need too_long = "drop"')
        return self

    def all_sources(self) -> tuple[PromptSourceConfig, ...]:
        """Return the sources; the short form has one."""
        if self.path is None:
            return self.sources
        only = PromptSourceConfig(
            name=ONLY_SOURCE, path=self.path, format=self.format, column=self.column
        )
        return (only,)

    def located(self, absolute: Callable[[str], str]) -> Self:
        """Return a copy in which ``absolute`` was applied to every path."""

        def of(section: Section, name: str) -> dict[str, str | None]:
            path = getattr(section, name)
            return {name: None if path is None else absolute(path)}

        sources = tuple(source.model_copy(update=of(source, "path")) for source in self.sources)
        safety = self.safety
        if safety is not None:
            safety = safety.model_copy(update=of(safety, "code"))
        changed = {**of(self, "path"), **of(self, "block_list")}
        return self.model_copy(update={**changed, "sources": sources, "safety": safety})
