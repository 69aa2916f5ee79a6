"""Batches from DataLoader workers arrive unchanged and cost one file descriptor."""

import copy
import pickle
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing
from torch.utils.data import DataLoader

from pipeline.reader import NoisePairDataset
from pipeline.reader.shared_memory import SharedMemoryBatch


@pytest.fixture(params=sorted(multiprocessing.get_all_sharing_strategies()))
def strategy(request: pytest.FixtureRequest) -> Iterator[str]:
    before = multiprocessing.get_sharing_strategy()
    multiprocessing.set_sharing_strategy(request.param)
    yield request.param
    multiprocessing.set_sharing_strategy(before)


def _shared(*shape: int) -> Tensor:
    tensor: Tensor = torch.randn(shape).half().share_memory_()
    return tensor


def _sent(batch: SharedMemoryBatch) -> tuple[bytes, dict[str, Any]]:
    data = bytes(ForkingPickler.dumps(batch))
    return data, pickle.loads(data)


def test_tensors_of_one_storage_are_sent_as_one() -> None:
    source, golden = _shared(2, 3, 4, 8, 8)
    batch = SharedMemoryBatch(golden_noise=golden, prompt=["a", "b", "c"], source_noise=source)
    data, arrived = _sent(batch)
    assert data.count(b"rebuild_storage") == 1
    assert type(arrived) is dict and list(arrived) == list(batch)
    assert torch.equal(arrived["golden_noise"], golden)
    assert torch.equal(arrived["source_noise"], source)
    assert arrived["prompt"] == ["a", "b", "c"]


def test_tensors_of_several_storages_and_views_are_sent() -> None:
    apart = SharedMemoryBatch(source_noise=_shared(3, 8), golden_noise=_shared(3, 8))
    columns = SharedMemoryBatch(golden_noise=_shared(3, 8)[:, 2:5], mask=_shared(3, 8)[1])
    for batch in (apart, columns):
        _, arrived = _sent(batch)
        assert all(torch.equal(arrived[name], batch[name]) for name in batch)


def test_small_tensors_are_sent_as_bytes() -> None:
    scores = {"scene": torch.tensor([0.5, float("nan")]), "oracle": torch.tensor([1.0, 2.0])}
    data, arrived = _sent(SharedMemoryBatch(seed=torch.tensor([3, 4]), golden_rewards=scores))
    assert b"rebuild_storage" not in data
    assert arrived["seed"].tolist() == [3, 4]
    for name, score in scores.items():
        torch.testing.assert_close(arrived["golden_rewards"][name], score, equal_nan=True)


def test_copy_is_a_shared_memory_batch() -> None:
    batch = SharedMemoryBatch(seed=torch.tensor([3, 4]))
    copied = copy.copy(batch)
    assert type(copied) is SharedMemoryBatch and copied is not batch
    assert copied["seed"] is batch["seed"]


def test_loader_sends_one_storage_and_plain_numbers(pairs_folder: Path, strategy: str) -> None:
    pairs = NoisePairDataset(str(pairs_folder), batch_size=4)
    here = next(iter(pairs))
    arrived = next(iter(DataLoader(pairs, batch_size=None, num_workers=1)))
    assert type(arrived) is dict and list(arrived) == list(here)
    noises = [arrived[name] for name in ("source_noise", "golden_noise")]
    assert all(noise.is_shared() for noise in noises)
    assert len({noise.untyped_storage().data_ptr() for noise in noises}) == 1
    for name in ("source_noise", "golden_noise", "seed"):
        assert torch.equal(arrived[name], here[name])
    assert not arrived["seed"].is_shared()
    for name, scores in here["golden_rewards"].items():
        assert not arrived["golden_rewards"][name].is_shared()
        torch.testing.assert_close(arrived["golden_rewards"][name], scores, equal_nan=True)


def test_pictures_share_the_storage_of_the_noises(sealed_folder: Path) -> None:
    pairs = NoisePairDataset(str(sealed_folder), batch_size=5)
    here = list(pairs)
    for batch, expected in zip(
        DataLoader(pairs, batch_size=None, num_workers=2), here, strict=True
    ):
        names = ("source_noise", "golden_noise", "source_image", "golden_image")
        assert all(torch.equal(batch[name], expected[name]) for name in names)
        assert len({batch[name].untyped_storage().data_ptr() for name in names}) == 1
        version = batch["golden_image"]._version
        batch["source_noise"].zero_()
        assert batch["golden_image"]._version == version, "autograd treats them as separate tensors"
        assert torch.equal(batch["golden_image"], expected["golden_image"])


def test_private_tensors_of_any_size_and_type_are_sent_in_one_storage() -> None:
    batch = SharedMemoryBatch(
        large=torch.randn(64, 64),
        odd=torch.arange(9001, dtype=torch.uint8),
        nested={"scores": torch.randn(3000), "few": torch.arange(3)},
        half=torch.ones(3, dtype=torch.bfloat16),
        turned=torch.randn(64, 65).T,
        empty=torch.empty(0, 4),
    )
    data, arrived = _sent(batch)
    assert data.count(b"rebuild_storage") == 1
    for name in ("large", "odd", "half", "turned", "empty"):
        assert torch.equal(arrived[name], batch[name])
        assert arrived[name].dtype == batch[name].dtype
    for name, each in batch["nested"].items():
        assert torch.equal(arrived["nested"][name], each)


def test_memory_of_a_batch_is_not_in_dev_shm(pairs_folder: Path) -> None:
    """A container has only 64 MB of it."""
    pairs = NoisePairDataset(str(pairs_folder), batch_size=4)
    noise = next(iter(DataLoader(pairs, batch_size=None, num_workers=1)))["golden_noise"]
    start = noise.untyped_storage().data_ptr()
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line for line in maps if line.startswith(f"{start:x}-")]
    assert len(mapped) == 1 and "/memfd:npd-batch" in mapped[0]
