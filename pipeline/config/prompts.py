"""``[prompts]``: where prompts come from, which of them stay, and how many candidates each."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.pinned_revision import refuse_unpinned
from pipeline.config.section import Name, PositiveInt, Section

PromptFormat = Literal["text", "jsonl", "csv", "tsv", "parquet", "arrow", "webdataset"]

Quotes = Literal["csv", "none"]

ONLY_SOURCE = "prompts"
"""Name of the source in the short form, ``[prompts] path = …``."""


class PromptSourceConfig(Section):
    """Where prompts come from: files of this machine, or a data set of the Hugging Face hub."""

    name: Name
    """Name of the source in counts and in the list of dropped prompts."""
    path: str | None = None
    """File, pattern of files as shards/*.tar, or folder that save_to_disk of datasets wrote."""
    hub: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")] | None = None
    """Data set of the Hugging Face hub, owner/name, in place of path; it is streamed."""
    revision: str | None = None
    """Commit of the hub's data set, its 40 hexadecimal digits."""
    subset: str | None = None
    """Which configuration of a hub's data set that has several."""
    split: str | None = None
    """Split of a data set; on the hub train by default, in a folder its only one."""
    format: PromptFormat | None = None
    """How the files are to be read; by default as their suffixes say."""
    column: str = "prompt"
    """Field that holds the prompt, in everything but text."""
    member: str = "txt"
    """Suffix of the tar's member that holds the prompt (webdataset); of json, column is read."""
    quotes: Quotes | None = None
    """Quotes in CSV and TSV: "csv" or "none" (letters); by default csv in CSV and none in TSV."""
    limit: PositiveInt | None = None
    """At most so many rows, the first ones; by default all."""
    weight: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Share of this source in the result against that of the others; for all sources or none."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("set either path or hub: each says where the prompts are")
        if self.hub is None and self.subset is not None:
            raise ValueError("subset belongs to hub: files have no subsets")
        refuse_unpinned(self.hub, self.revision, "datasets/")
        return self

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.hub}@{self.revision}" if self.path is None else self.path


class SafetyConfig(Section):
    """A filter of your own that says which prompts are unsafe."""

    entry: str
    """The class, module:Class; docs/prompts.md has an example."""
    code: str | None = None
    """Folder that holds the module; by default where Python looks."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class."""


class PromptsConfig(Section):
    """Which prompts, and how many candidates each."""

    path: str | None = None
    """File with the prompts, where there is one source and it needs no more than these three."""
    format: PromptFormat | None = None
    """How the file is to be read; by default as its suffix says."""
    column: str = "prompt"
    """Field that holds the prompt, in everything but text."""
    sources: Annotated[tuple[PromptSourceConfig, ...], Field(strict=False)] = ()
    """Several sources, in place of path; of prompts that repeat, the first source has it."""
    block_list: str | None = None
    """File of words and phrases, one a line; a prompt that holds one is dropped."""
    too_long: Literal["keep", "drop"] = "keep"
    """What becomes of prompts that the model cannot read whole; kept, they count as truncated."""
    max_tokens: PositiveInt | None = None
    """Longest prompt that is not too long, in tokens with special ones; by default the model's."""
    tokenizers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Tokenizers of the model that count, as tokenizer_2; it is enough if one cuts nothing."""
    safety: SafetyConfig | None = None
    """Drops what a filter of your own calls unsafe."""
    near_duplicates: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """Similarity to an earlier prompt from which one is dropped; by default only equal ones are."""
    sample: PositiveInt | None = None
    """So many of the prompts that are left, chosen by hash from the seed; by default all."""
    seeds_per_prompt: PositiveInt = 1
    """Candidates for each prompt."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Root from which every candidate's seed, and the sample, is derived."""

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if (self.path is None) == (not self.sources):
            raise ValueError("set either path or [[prompts.sources]]: both say where prompts are")
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
        """The sources, one for the short form."""
        if self.path is None:
            return self.sources
        only = PromptSourceConfig(
            name=ONLY_SOURCE, path=self.path, format=self.format, column=self.column
        )
        return (only,)

    def located(self, absolute: Callable[[str], str]) -> Self:
        """The same with every path put through ``absolute``."""

        def of(section: Section, name: str) -> dict[str, str | None]:
            path = getattr(section, name)
            return {name: None if path is None else absolute(path)}

        sources = tuple(source.model_copy(update=of(source, "path")) for source in self.sources)
        safety = self.safety
        if safety is not None:
            safety = safety.model_copy(update=of(safety, "code"))
        changed = {**of(self, "path"), **of(self, "block_list")}
        return self.model_copy(update={**changed, "sources": sources, "safety": safety})
