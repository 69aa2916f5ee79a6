"""Complete epochs over ranks and workers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from pipeline.core.errors import UserError
from pipeline.reader import NoisePairDataset
from tests.reader.conftest import COUNT, SHAPE
from tests.reader.reading import ids_of, ledger_of, read_all

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [None, 1, 8])
def test_epoch_gives_each_pair_once_over_ranks(
    pairs_folder: Path, world_size: int, batch_size: int | None
) -> None:
    ids = {row["sample_id"] for row in ledger_of(pairs_folder)}
    url = str(pairs_folder)
    kept = read_all(url, world_size, 0, batch_size=batch_size, seed=3, remainder="keep")
    assert sorted(sample for rank in kept for sample in rank) == sorted(ids)
    dropped = read_all(url, world_size, 0, batch_size=batch_size, seed=3)
    assert {len(rank) for rank in dropped} == {COUNT // world_size}
    assert len({sample for rank in dropped for sample in rank}) == COUNT - COUNT % world_size
    repeated = read_all(url, world_size, 0, batch_size=batch_size, seed=3, remainder="repeat")
    assert {len(rank) for rank in repeated} == {-(-COUNT // world_size)}
    assert {sample for rank in repeated for sample in rank} == ids


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 8), (2, 8), (3, None)])
def test_epoch_of_a_rank_does_not_depend_on_its_workers(
    pairs_folder: Path, workers: int, batch_size: int | None
) -> None:
    url = str(pairs_folder)
    alone = read_all(url, 2, 0, batch_size=batch_size, seed=3)
    assert read_all(url, 2, workers, batch_size=batch_size, seed=3) == alone


def test_order_depends_on_seed_and_epoch_only(pairs_folder: Path) -> None:
    def order(seed: int | None, epoch: int) -> list[str]:
        pairs = NoisePairDataset(str(pairs_folder), seed=seed)
        pairs.set_epoch(epoch)
        return [*ids_of(pairs)]

    stored = [row["sample_id"] for row in ledger_of(pairs_folder)]
    assert order(None, 0) == order(None, 4) == stored
    assert order(1, 2) == order(1, 2)
    different = [stored, order(1, 0), order(1, 1), order(2, 0)]
    assert len({tuple(each) for each in different}) == 4
    assert all(sorted(each) == sorted(stored) for each in different)


@pytest.mark.parametrize("persistent", [True, False])
def test_set_epoch_reaches_workers(pairs_folder: Path, persistent: bool) -> None:
    pairs = NoisePairDataset(str(pairs_folder), seed=1, batch_size=16)
    loader = DataLoader(pairs, batch_size=None, num_workers=2, persistent_workers=persistent)
    for epoch in (0, 3):
        pairs.set_epoch(epoch)
        alone = NoisePairDataset(str(pairs_folder), seed=1, batch_size=16)
        alone.set_epoch(epoch)
        assert [*ids_of(loader)] == [*ids_of(alone)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_samples_collated(pairs_folder: Path, workers: int) -> None:
    dtype = torch.float32
    samples = [*NoisePairDataset(str(pairs_folder), seed=1, dtype=dtype)]
    pairs = NoisePairDataset(str(pairs_folder), seed=1, batch_size=8, dtype=dtype)
    batches = [*DataLoader(pairs, batch_size=None, num_workers=workers)]
    assert len(batches) == len(pairs) == -(-COUNT // 8)
    for at, batch in enumerate(batches):
        part = samples[at * 8 : at * 8 + 8]
        assert type(batch) is dict and batch.keys() == part[0].keys()
        for name in ("source_noise", "golden_noise"):
            assert batch[name].dtype == dtype and batch[name].shape == (len(part), *SHAPE)
            assert torch.equal(batch[name], torch.stack([sample[name] for sample in part]))
        for name in ("plan_id", "sample_id", "prompt", "prompt_id", "seed"):
            values = batch[name].tolist() if name == "seed" else batch[name]
            assert values == [sample[name] for sample in part]
        for name in ("source_rewards", "golden_rewards", "noise_stats"):
            for key, values in batch[name].items():
                assert values.dtype == torch.float32
                assert values.tolist() == [sample[name][key] for sample in part]


def test_drop_last_leaves_full_batches(pairs_folder: Path) -> None:
    pairs = NoisePairDataset(str(pairs_folder), batch_size=8, drop_last=True)
    sizes = [len(batch["seed"]) for batch in pairs]
    assert sizes == [8] * (COUNT // 8) and len(pairs) == len(sizes)


def test_only_the_chosen_columns_are_returned(pairs_folder: Path) -> None:
    pairs = NoisePairDataset(str(pairs_folder), columns=["prompt", "golden_noise"], batch_size=4)
    assert list(next(iter(pairs))) == ["prompt", "golden_noise"]


def test_rank_is_that_of_the_environment_and_of_torch_distributed(
    pairs_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(pairs_folder)
    ranks = read_all(url, 2, 0, seed=1)
    pairs = NoisePairDataset(url, seed=1)
    with monkeypatch.context() as env:
        env.setenv("RANK", "1")
        env.setenv("WORLD_SIZE", "2")
        assert [*ids_of(pairs)] == ranks[1] and len(pairs) == COUNT // 2
        env.setenv("RANK", "two")
        with pytest.raises(UserError, match="RANK='two'"):
            len(pairs)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/d", rank=0, world_size=1)
    try:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert len(pairs) == COUNT
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is at least 1, not 0"),
        ({"seed": -1}, "seed is at least 0, not -1"),
        ({"remainder": "pad"}, "no remainder 'pad'; there are drop, repeat, keep"),
        ({"on_damage": "ignore"}, "no on_damage 'ignore'; there are raise, skip"),
        ({"rank": 2, "world_size": 2}, "rank 2 is not in the range 0 to 1"),
        ({"rank": 0}, "rank and world_size go together"),
        ({"columns": ["noise"]}, "no column 'noise'; there are plan_id, sample_id"),
        (
            {"columns": ["promt"], "view": "preference", "reward": "image_reward"},
            "no column 'promt'; there are plan_id",
        ),
        ({"columns": "prompt"}, "columns is a list of names, not the text 'prompt'"),
        ({"dtype": torch.int8}, "floating point type, not torch.int8"),
        ({"view": "preference"}, "reward=… go together"),
        ({"reward": "image_reward"}, "reward=… go together"),
    ],
)
def test_invalid_argument_is_refused(
    pairs_folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        NoisePairDataset(str(pairs_folder), **options)
