"""What a DataLoader worker sends arrives as it was, and costs one descriptor."""

import pickle
from multiprocessing.reduction import ForkingPickler

import torch
from torch import Tensor

from pipeline.reader.parcel import Parcel


def _shared(*shape: int) -> Tensor:
    return torch.randn(shape).half().share_memory_()


def _sent(parcel: Parcel) -> tuple[bytes, dict[str, object]]:
    data = bytes(ForkingPickler.dumps(parcel))
    return data, pickle.loads(data)


def test_tensors_of_one_storage_cross_as_one() -> None:
    source, golden = _shared(2, 3, 4, 8, 8)
    parcel = Parcel(golden_noise=golden, prompt=["a", "b", "c"], source_noise=source)
    data, arrived = _sent(parcel)
    assert data.count(b"rebuild_storage") == 1
    assert type(arrived) is dict and list(arrived) == list(parcel)
    assert torch.equal(arrived["golden_noise"], golden)
    assert torch.equal(arrived["source_noise"], source)
    assert arrived["prompt"] == ["a", "b", "c"]


def test_tensors_of_several_storages_and_parts_of_one_cross_too() -> None:
    apart = Parcel(source_noise=_shared(3, 8), golden_noise=_shared(3, 8))
    columns = Parcel(golden_noise=_shared(3, 8)[:, 2:5], mask=_shared(3, 8)[1])
    for parcel in (apart, columns):
        _, arrived = _sent(parcel)
        assert all(torch.equal(arrived[name], parcel[name]) for name in parcel)


def test_small_numbers_cross_as_bytes() -> None:
    scores = {"scene": torch.tensor([0.5, float("nan")]), "oracle": torch.tensor([1.0, 2.0])}
    data, arrived = _sent(Parcel(seed=torch.tensor([3, 4]), golden_rewards=scores))
    assert b"rebuild_storage" not in data
    assert arrived["seed"].tolist() == [3, 4]
    for name, score in scores.items():
        torch.testing.assert_close(arrived["golden_rewards"][name], score, equal_nan=True)
