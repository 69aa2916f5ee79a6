"""Held-out prompts of a trial, checked against the data set that a network was trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.identity import prompt_id
from pipeline.prompts.choosing import distinct_prompts
from pipeline.records import Split
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_prompts
from pipeline.storage.sealed_files import read_ledger
from pipeline.storage.success import sealed_manifests

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
        seeds.update(read_ledger(store, manifest.ledger).seeds())
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
        raise UserError("no prompts to evaluate on: give --prompts, or --data with a test split")
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
            f"of {data.url}, as {examples}{', …' if len(leaks) > _EXAMPLES else ''}; "
            "a trial is on prompts that nothing was trained on: take them out"
        )
