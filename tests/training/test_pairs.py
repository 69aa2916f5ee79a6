"""Batches of pairs for the processes of a training run."""

from itertools import islice
from pathlib import Path

import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.reader import NoisePairDataset, Source
from pipeline.training.data import EveryPair, PairBatch, PairStream


def _stream(folder: Path, *, batch_size: int = 4, seed: int = 0, **where: int) -> PairStream:
    return PairStream(
        Source(str(folder)), split="train", batch_size=batch_size, seed=seed, min_gain={}, **where
    )


def _noises(batches: list[PairBatch]) -> list[tuple[float, ...]]:
    """Return the first values of each noise, which identify a pair; prompts repeat."""
    return [tuple(row.flatten()[:4].tolist()) for b in batches for row in b.source_noise]


def test_stream_gives_every_pair_at_most_once_an_epoch_in_another_order_each(
    sealed_folder: Path,
) -> None:
    stream = _stream(sealed_folder)
    every = _noises(list(EveryPair(Source(str(sealed_folder)), "train", 100)))
    batches = len(stream) // 4
    given = iter(stream)
    epochs = [_noises(list(islice(given, batches))) for _ in range(2)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == 4 * batches
        assert set(epoch) <= set(every)
    assert epochs[0] != epochs[1]


def test_stream_noises_and_prompts_belong_together(sealed_folder: Path) -> None:
    stored = {
        tuple(s["source_noise"].flatten()[:4].tolist()): s
        for s in NoisePairDataset(str(sealed_folder), "train")
    }
    (batch,) = islice(_stream(sealed_folder), 1)
    assert batch.source_noise.dtype == batch.golden_noise.dtype == torch.float32
    for name, golden, prompt in zip(
        _noises([batch]), batch.golden_noise, batch.prompts, strict=True
    ):
        assert torch.equal(golden, stored[name]["golden_noise"].float())
        assert prompt == stored[name]["prompt"]


@pytest.mark.parametrize("world_size", [2, 4])
def test_stream_processes_share_the_batches_of_one(sealed_folder: Path, world_size: int) -> None:
    alone = [set(_noises([batch])) for batch in islice(_stream(sealed_folder), 5)]
    parts = [
        list(islice(_stream(sealed_folder, rank=rank, world_size=world_size), 5))
        for rank in range(world_size)
    ]
    together = [_noises(list(batches)) for batches in zip(*parts, strict=True)]
    assert [set(batch) for batch in together] == alone
    assert all(len(batch) == 4 for batch in together)


@pytest.mark.parametrize("taken", [1, 3, 5])
def test_stream_resumed_goes_on_with_the_next_batch(sealed_folder: Path, taken: int) -> None:
    undisturbed = _noises(list(islice(_stream(sealed_folder), 8)))
    first = _stream(sealed_folder)
    begun = _noises(list(islice(first, taken)))
    resumed = _stream(sealed_folder)
    resumed.load_state_dict(first.state_dict())
    assert begun + _noises(list(islice(resumed, 8 - taken))) == undisturbed


def test_stream_min_gain_leaves_out_pairs_that_gain_less(sealed_folder: Path) -> None:
    gains = sorted(
        s["golden_rewards"]["scene"] - s["source_rewards"]["scene"]
        for s in NoisePairDataset(str(sealed_folder), "train")
    )
    least = gains[len(gains) // 2]
    stream = PairStream(
        Source(str(sealed_folder)), split="train", batch_size=1, seed=0, min_gain={"scene": least}
    )
    assert len(stream) == sum(gain >= least for gain in gains) < len(gains)


def test_stream_fewer_pairs_than_a_batch_says_how_many(sealed_folder: Path) -> None:
    with pytest.raises(UserError, match=r"pairs.*fewer than a batch of 1000"):
        _stream(sealed_folder, batch_size=1000)


def test_stream_batch_that_processes_cannot_share_is_refused(sealed_folder: Path) -> None:
    with pytest.raises(UserError, match="3 processes cannot share batches of 4"):
        _stream(sealed_folder, world_size=3)
