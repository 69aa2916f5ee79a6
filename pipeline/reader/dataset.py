"""A sealed data set as a torch ``IterableDataset``."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pipeline.diffusion.noise import source_noise, stored
from pipeline.errors import UserError
from pipeline.reader.shards import open_shard, read_shard
from pipeline.records import Split
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import Manifest, ShardInfo, read_manifest, read_success
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.schema import NoisePair

_PREFERRED: tuple[ShardFormat, ...] = ("arrow", "webdataset")
"""Arrow first: it is mapped, not parsed."""


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """Some consecutive pairs of one shard."""

    plan_id: str
    key: str
    format: ShardFormat
    start: int
    stop: int


class NoisePairDataset(IterableDataset[dict[str, Any]]):
    """The pairs of one split, each exactly once, also under a ``DataLoader`` with many workers.

    All sealed plans of the store are one data set, plan after plan; ``plan_id`` (str) tells which
    one made a sample, and where two plans share a prompt and a seed both have its ``sample_id``.

    A sample is a dictionary: ``plan_id``, ``sample_id``, ``prompt``, ``prompt_id`` (str),
    ``seed`` (int), ``source_noise`` and ``golden_noise`` (float16 tensors (C, H, W); the source
    noise is rebuilt from its seed where it is not stored), ``source_rewards`` and
    ``golden_rewards`` (dict of float, NaN where there is no score), ``noise_stats`` (dict of
    float), and, where they are stored, ``source_image`` and ``golden_image`` (uint8 tensors
    (H, W, 3)).

    Raises ``UserError`` if nothing is sealed at ``url``.
    """

    def __init__(self, url: str, split: str = "train") -> None:
        super().__init__()
        store = open_store(url)
        self._url = store.url
        self._split = _split(split)
        self._stretches = [
            _Stretch(
                plan_id=manifest.plan_id,
                key=shard.key,
                format=shard_format,
                start=0,
                stop=shard.num_samples,
            )
            for manifest in _manifests(store)
            for shard_format, shard in _shards(manifest, self._split)
        ]

    def __len__(self) -> int:
        """Pairs in the split."""
        return sum(stretch.stop - stretch.start for stretch in self._stretches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Samples in the order of the data set; a DataLoader worker gets a contiguous part."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        start, stop = (len(self) * i // workers for i in (worker, worker + 1))
        # Opened here, not in __init__: a DataLoader worker is another process.
        store = open_store(self._url)
        for stretch in _cut(self._stretches, start, stop):
            with open_shard(store, stretch.key) as file:
                for pair in read_shard(file, stretch.format, stretch.start, stretch.stop):
                    yield {"plan_id": stretch.plan_id, **to_sample(pair)}


def to_sample(pair: NoisePair) -> dict[str, Any]:
    """A pair as training code wants it."""
    sample: dict[str, Any] = {
        "sample_id": pair.sample_id,
        "prompt": pair.prompt,
        "prompt_id": pair.prompt_id,
        "seed": pair.seed,
        "source_noise": source_of(pair),
        # Copied: the memory belongs to a file that will be closed.
        "golden_noise": torch.from_numpy(pair.golden_noise.copy()),
        "source_rewards": _without_none(pair.source_rewards),
        "golden_rewards": _without_none(pair.golden_rewards),
        "noise_stats": pair.noise_stats.model_dump(),
    }
    for name, image in (("source_image", pair.source_image), ("golden_image", pair.golden_image)):
        if image is not None:
            sample[name] = decode_image(image)
    return sample


def source_of(pair: NoisePair) -> Tensor:
    """The source noise, float16, as stored or rebuilt from the seed."""
    if pair.source_noise is None:
        return stored(source_noise(pair.seed, pair.golden_noise.shape))
    return torch.from_numpy(pair.source_noise.copy())


def decode_image(image: bytes) -> Tensor:
    """A stored picture as uint8 (H, W, 3)."""
    with Image.open(io.BytesIO(image)) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB")))


def _without_none(rewards: dict[str, float | None]) -> dict[str, float]:
    return {name: float("nan") if score is None else score for name, score in rewards.items()}


def _split(name: str) -> Split:
    try:
        return Split(name)
    except ValueError:
        raise UserError(f"no split {name!r}; there are {', '.join(Split)}") from None


def _manifests(store: ObjectStore) -> list[Manifest]:
    success = read_success(store)
    if success is None:
        raise UserError(f"{store.url}: no sealed data set here; finish it with `npd build`")
    return [read_manifest(store, sealed) for sealed in success.manifests]


def _shards(manifest: Manifest, split: Split) -> Iterator[tuple[ShardFormat, ShardInfo]]:
    formats = manifest.shards[split]
    shard_format = next(name for name in _PREFERRED if name in formats)
    return ((shard_format, shard) for shard in formats[shard_format])


def _cut(stretches: list[_Stretch], start: int, stop: int) -> Iterator[_Stretch]:
    """The part of some stretches that lies between two positions of their concatenation."""
    first = 0
    for stretch in stretches:
        length = stretch.stop - stretch.start
        begin, end = max(start - first, 0), min(stop - first, length)
        if begin < end:
            yield replace(stretch, start=stretch.start + begin, stop=stretch.start + end)
        first += length
