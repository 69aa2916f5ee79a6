"""Batches of pairs for one process of a training run. B batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.reader import NoisePairDataset

_COLUMNS = ("source_noise", "golden_noise", "prompt")


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """Some pairs."""

    source_noise: Tensor
    """float32 (B, ...), as it is stored."""
    golden_noise: Tensor
    """float32 (B, ...)."""
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
        self._pairs = NoisePairDataset(
            url,
            split,
            seed=seed,
            batch_size=batch_size // world_size,
            drop_last=True,
            rank=rank,
            world_size=world_size,
            min_gain=min_gain,
            dtype=torch.float32,
            columns=_COLUMNS,
        )
        if not len(self._pairs):
            raise UserError(
                f"{url}: {len(self)} pairs in split {split!r} with the gains asked for, fewer "
                f"than a batch of {batch_size}"
            )

    def __len__(self) -> int:
        """Pairs that are trained on."""
        return self._pairs.num_samples

    def __iter__(self) -> Iterator[PairBatch]:
        """Batches from where the stream stands; it never ends."""
        while True:
            yield from map(_batch, self._pairs)
            self._pairs.set_epoch(self._pairs.epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: the same for all processes."""
        return self._pairs.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another stream stood. Raises ``UserError`` for that of other pairs."""
        self._pairs.load_state_dict(state)


class EveryPair:
    """Every pair of a split once, in the order of the data set; the last batch may be smaller.

    What is sealed when it is made is read, each time it is iterated.
    """

    def __init__(self, url: str, split: str, batch_size: int) -> None:
        self._pairs = NoisePairDataset(
            url,
            split,
            batch_size=batch_size,
            rank=0,
            world_size=1,
            dtype=torch.float32,
            columns=_COLUMNS,
        )

    def __iter__(self) -> Iterator[PairBatch]:
        return map(_batch, self._pairs)


def _batch(columns: Mapping[str, Any]) -> PairBatch:
    return PairBatch(
        source_noise=columns["source_noise"],
        golden_noise=columns["golden_noise"],
        prompts=columns["prompt"],
    )
