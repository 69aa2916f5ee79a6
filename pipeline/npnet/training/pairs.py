"""Batches of pairs for one process of a training run. B batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.reader import NoisePairDataset


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """Some pairs."""

    source_noise: Tensor
    """float32 (B, C, H, W)."""
    golden_noise: Tensor
    """float32 (B, C, H, W)."""
    prompts: list[str]


class PairStream:
    """The training pairs in a shuffled order, epoch after epoch, for one of several processes.

    Every process takes its part of each batch, so that a batch holds the same pairs whatever the
    number of processes. What is left of an epoch after its last full batch is left out.
    """

    def __init__(
        self,
        url: str,
        *,
        split: str,
        batch_size: int,
        seed: int,
        min_gain: Mapping[str, float],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size % world_size:
            raise UserError(f"{world_size} processes cannot share batches of {batch_size} equally")
        samples = [s for s in NoisePairDataset(url, split) if _gains(s, min_gain)]
        if len(samples) < batch_size:
            raise UserError(
                f"{url}: {len(samples)} pairs in split {split!r} with the gains asked for, fewer "
                f"than a batch of {batch_size}"
            )
        self._source = torch.stack([sample["source_noise"] for sample in samples])
        self._golden = torch.stack([sample["golden_noise"] for sample in samples])
        self._prompts = [sample["prompt"] for sample in samples]
        self._batch_size, self._seed = batch_size, seed
        self._rank, self._world_size = rank, world_size
        self._epoch, self._position = 0, 0

    def __len__(self) -> int:
        """Pairs that are trained on."""
        return len(self._prompts)

    def __iter__(self) -> Iterator[PairBatch]:
        """Batches from where the stream stands; it never ends."""
        while True:
            yield self._next()

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another stream stood."""
        self._epoch, self._position = state["epoch"], state["position"]

    def _next(self) -> PairBatch:
        if self._position + self._batch_size > len(self):
            self._epoch, self._position = self._epoch + 1, 0
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order = torch.randperm(len(self), generator=generator)
        part = self._batch_size // self._world_size
        start = self._position + self._rank * part
        rows = order[start : start + part]
        self._position += self._batch_size
        return PairBatch(
            source_noise=self._source[rows].float(),
            golden_noise=self._golden[rows].float(),
            prompts=[self._prompts[row] for row in rows.tolist()],
        )


def every_pair(url: str, split: str, batch_size: int) -> Iterator[PairBatch]:
    """Every pair of a split once, in the order of the data set; the last batch may be smaller."""
    samples = iter(NoisePairDataset(url, split))
    while some := list(islice(samples, batch_size)):
        yield PairBatch(
            source_noise=torch.stack([sample["source_noise"] for sample in some]).float(),
            golden_noise=torch.stack([sample["golden_noise"] for sample in some]).float(),
            prompts=[sample["prompt"] for sample in some],
        )


def _gains(sample: Mapping[str, Any], min_gain: Mapping[str, float]) -> bool:
    return all(
        sample["golden_rewards"][name] - sample["source_rewards"][name] >= least
        for name, least in min_gain.items()
    )
