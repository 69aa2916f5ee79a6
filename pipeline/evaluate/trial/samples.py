"""Samples of a trial: held-out prompts, their categories, and unseen seeds.

All samples are chosen before any image is made.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import PromptFileError, UserError
from pipeline.core.identity import normalise_prompt, prompt_id, seeds_for
from pipeline.core.records import Split
from pipeline.prompts.choosing import distinct_prompts
from pipeline.prompts.csv_table import table_rows
from pipeline.prompts.jsonl import JsonObject, jsonl_rows, text_field
from pipeline.prompts.sources import format_by_suffix
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_prompts
from pipeline.storage.sealed_files import read_ledger
from pipeline.storage.success import sealed_manifests


@dataclass(frozen=True, kw_only=True)
class TrialSample:
    """Prompt with a seed, and the further prompt and seeds that the controls need."""

    prompt: str
    prompt_id: str
    wrong_prompt: str
    """Another prompt of the trial. Each prompt is the wrong prompt of exactly one other prompt."""
    seeds: tuple[int, ...]
    """Seed of the source noise, followed by the seeds of other noises for the controls."""
    rank: int
    """Position if all first seeds precede all second seeds. A limit takes the lowest ranks, so that
    a subset covers as many prompts as possible."""


def draw_samples(
    prompts: Sequence[str], seeds_per_prompt: int, extra_seeds: int, root_seed: int, used: Set[int]
) -> list[TrialSample]:
    """Return the samples of all prompts; the samples of one prompt are adjacent.

    No seed is in ``used``, and the seeds of a prompt are distinct. ``extra_seeds`` is the number of
    seeds for the controls of each sample. Raises ``UserError`` for fewer than two prompts, because
    every prompt needs a wrong prompt.
    """
    if len(prompts) < 2:
        raise UserError(f"a trial needs at least two prompts, not {len(prompts)}")
    wrong = _other_prompts(prompts, root_seed)
    samples = []
    for position, prompt in enumerate(prompts):
        name = prompt_id(prompt)
        seeds = _unseen_seeds(root_seed, name, seeds_per_prompt * (1 + extra_seeds), used)
        # Source seeds precede the extra seeds, so they do not depend on the number of controls.
        for index in range(seeds_per_prompt):
            start = seeds_per_prompt + index * extra_seeds
            samples.append(
                TrialSample(
                    prompt=prompt,
                    prompt_id=name,
                    wrong_prompt=wrong[position],
                    seeds=(seeds[index], *seeds[start : start + extra_seeds]),
                    rank=index * len(prompts) + position,
                )
            )
    return samples


def _other_prompts(prompts: Sequence[str], root_seed: int) -> list[str]:
    """Return another prompt for each prompt: its neighbour in one random cycle of all prompts."""
    # In one cycle through all prompts, no prompt is followed by itself.
    circle = np.random.default_rng(root_seed).permutation(len(prompts))
    others = [""] * len(prompts)
    for here, behind in zip(circle, np.roll(circle, -1), strict=True):
        others[here] = prompts[behind]
    return others


def _unseen_seeds(root_seed: int, name: str, count: int, used: Set[int]) -> list[int]:
    """Return a prompt's first ``count`` seeds, derived as in a plan, that are not in ``used``."""
    # A longer list of seeds begins with the shorter one, so the first seeds stay the same.
    wanted = count
    while True:
        unseen = [seed for seed in seeds_for(root_seed, name, wanted) if seed not in used]
        if len(unseen) >= count:
            return unseen[:count]
        wanted += count - len(unseen)


def chunks_of(
    samples: Sequence[TrialSample], size: int, seeds_per_prompt: int
) -> Iterator[list[TrialSample]]:
    """Split samples into chunks of at most ``size``, but never split the seeds of a prompt."""
    step = max(1, size // seeds_per_prompt) * seeds_per_prompt
    return (list(samples[start : start + step]) for start in range(0, len(samples), step))


_SEEN = (Split.TRAIN, Split.VALIDATION)
_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Prompts, splits and seeds of the data set that a network was trained on."""

    url: str
    manifests: tuple[Manifest, ...]
    splits: dict[str, Split]
    """Maps each prompt of all plans to its split."""
    seeds: frozenset[int]
    """Seeds of all candidates, kept or not. The seed alone determines a noise."""

    @property
    def test_prompts(self) -> list[str]:
        """Prompts of the test split, in the order of the data set."""
        return [prompt for prompt, split in self.splits.items() if split is Split.TEST]


def read_data_set(store: ObjectStore) -> DataSet:
    """Read the prompts and seeds of all sealed plans in a store.

    Raises ``UserError`` if nothing is sealed, and ``VerificationError`` if a file is damaged.
    """
    manifests = tuple(manifest for _, manifest in sealed_manifests(store))
    splits: dict[str, Split] = {}
    seeds: set[int] = set()
    for manifest in manifests:
        table = read_prompts(store, manifest.plan)
        for prompt, split in zip(table.prompts, table.splits, strict=True):
            # Plans may split differently. A prompt that any plan trains on counts as seen.
            if splits.get(prompt) not in _SEEN:
                splits[prompt] = split
        seeds.update(read_ledger(store, manifest).seeds())
    return DataSet(url=store.url, manifests=manifests, splits=splits, seeds=frozenset(seeds))


def held_out_prompts(path: Path | None, column: str, data: DataSet | None) -> list[str]:
    """Return the prompts of a file, or those of the data set's test split if there is no file.

    Raises ``UserError`` if there is neither, or if a prompt of the file is in the train or
    validation split of ``data``.
    """
    if path is not None:
        prompts = distinct_prompts(path, column)
        if data is not None:
            _refuse_seen(path, prompts, data)
        return prompts
    if data is None:
        raise UserError("no prompts to evaluate: give --prompts, or --data with a test split")
    if not data.test_prompts:
        raise UserError(
            f"{data.url}: has no test split; give held-out prompts with --prompts, or build a data "
            "set with splits.test above 0"
        )
    return data.test_prompts


def seen_prompts(prompts: Iterable[str], data: DataSet) -> list[str]:
    """Return the prompts that are in the train or validation split."""
    seen = {prompt_id(prompt) for prompt, split in data.splits.items() if split in _SEEN}
    return [prompt for prompt in prompts if prompt_id(prompt) in seen]


def _refuse_seen(path: Path, prompts: Sequence[str], data: DataSet) -> None:
    if leaks := seen_prompts(prompts, data):
        examples = ", ".join(map(repr, leaks[:_EXAMPLES]))
        raise UserError(
            f"{path}: {len(leaks)} of {len(prompts)} prompts are in the train or validation split "
            f"of {data.url}, such as {examples}{', …' if len(leaks) > _EXAMPLES else ''}; "
            "remove them, because a trial needs prompts that no network was trained on"
        )


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
                f"{path}: a {path.suffix or 'text'} file has no columns; --category-column "
                "needs a .csv or .jsonl file"
            )


def _category(row: JsonObject, column: str, where: str) -> str:
    if row.get(column) is None:
        raise PromptFileError(f"{where}: no column {column!r}; has {', '.join(map(repr, row))}")
    return str(row[column])
