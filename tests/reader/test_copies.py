"""Copies of a data set in DataLoader workers, in other processes and in the same process."""

import copy
import io
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ray import cloudpickle
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from pipeline.core.errors import UserError, VerificationError
from pipeline.reader import NoisePairDataset
from tests.reader.conftest import COUNT
from tests.reader.reading import ids_of, read_all

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

_BATCH = 16
_BEGUN = 3


def _pairs(folder: Path, epoch: int = 0, **options: Any) -> NoisePairDataset:
    pairs = NoisePairDataset(str(folder), seed=1, batch_size=_BATCH, **options)
    pairs.set_epoch(epoch)
    return pairs


def _loader(pairs: NoisePairDataset, **options: Any) -> DataLoader[Any]:
    return DataLoader(pairs, batch_size=None, **{"num_workers": 2, **options})


def _order(folder: Path, epoch: int = 0) -> list[str]:
    return [*ids_of(_pairs(folder, epoch))]


def _saved(pairs: NoisePairDataset) -> NoisePairDataset:
    file = io.BytesIO()
    torch.save(pairs, file)
    file.seek(0)
    loaded: NoisePairDataset = torch.load(file, weights_only=False)
    return loaded


_COPIES: dict[str, Callable[[NoisePairDataset], NoisePairDataset]] = {
    "pickle": lambda pairs: pickle.loads(pickle.dumps(pairs)),
    "cloudpickle": lambda pairs: cloudpickle.loads(cloudpickle.dumps(pairs)),
    "torch.save": _saved,
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=["pickle", "deepcopy"])
def copied(request: pytest.FixtureRequest) -> Callable[[NoisePairDataset], NoisePairDataset]:
    return _COPIES[request.param]


@pytest.fixture(scope="module")
def forkserver() -> Iterator[Any]:
    """Start processes quickly that receive their arguments by pickle, like spawned ones."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.reader", "torchdata.stateful_dataloader"])
    yield context


@pytest.mark.parametrize("kind", _COPIES)
def test_copy_has_a_separate_epoch_that_reaches_its_workers(pairs_folder: Path, kind: str) -> None:
    original = _pairs(pairs_folder, 2)
    pairs = _COPIES[kind](original)
    assert pairs.epoch == 2
    loader = _loader(pairs, persistent_workers=True)
    assert [*ids_of(loader)] == _order(pairs_folder, 2)
    pairs.set_epoch(1)
    assert [*ids_of(loader)] == _order(pairs_folder, 1)
    assert original.epoch == 2


def test_copy_uses_a_loaded_state_once(
    pairs_folder: Path, copied: Callable[[NoisePairDataset], NoisePairDataset]
) -> None:
    original = _pairs(pairs_folder)
    original.load_state_dict(original.state_after(_BEGUN))
    pairs = copied(original)
    for reader in (pairs, original):
        lengths = [len([*ids_of(_loader(reader))]) for _ in range(3)]
        assert lengths == [COUNT - _BEGUN * _BATCH, COUNT, COUNT]


def test_copy_refuses_state_dict_after_workers_have_read(
    pairs_folder: Path, copied: Callable[[NoisePairDataset], NoisePairDataset]
) -> None:
    pairs = _pairs(pairs_folder)
    before = copied(pairs)
    for reader in (pairs, before):
        next(iter(_loader(reader, num_workers=1)))
        with pytest.raises(UserError, match="only they know how far"):
            reader.state_dict()
    with pytest.raises(UserError, match="only they know how far"):
        copied(pairs).state_dict()


def test_copy_uses_the_rank_of_its_process(
    pairs_folder: Path,
    copied: Callable[[NoisePairDataset], NoisePairDataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranks = read_all(str(pairs_folder), 2, 0, seed=1, batch_size=_BATCH)
    pairs = copied(_pairs(pairs_folder))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [*ids_of(pairs)] == [*ids_of(_loader(pairs))] == ranks[1]


def test_copy_verifies_its_shards_again(pairs_copy: Path) -> None:
    """A copy may be read where a shard is another file."""
    pairs = _pairs(pairs_copy)
    assert len([*ids_of(pairs)]) == COUNT
    data = pickle.dumps(pairs)
    for shard in pairs_copy.glob("shards/*/*/*.arrow"):
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    with pytest.raises(VerificationError):
        list(pickle.loads(data))


def _trained(pairs: NoisePairDataset, rank: int, folder: Path) -> None:
    """Read like a process that received ``pairs`` before it joined the training run."""
    begun = [*ids_of(islice(_loader(pairs, multiprocessing_context="fork"), 1))]
    dist.init_process_group("gloo", init_method=f"file://{folder}/join", rank=rank, world_size=2)
    try:
        loader = _loader(pairs, multiprocessing_context="fork", persistent_workers=True)
        epochs = [begun]
        for epoch in (0, 1 + rank):
            pairs.set_epoch(epoch)
            epochs.append([*ids_of(loader)])
        dist.barrier()
        assert pairs.epoch == 1 + rank
        (folder / str(rank)).write_bytes(pickle.dumps(epochs))
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("start", ["forkserver", "fork"])
def test_processes_that_join_later_read_as_their_ranks(
    pairs_folder: Path, tmp_path: Path, forkserver: Any, start: str
) -> None:
    context: Any = multiprocessing.get_context(start)
    pairs = _pairs(pairs_folder)
    # This process is not a rank of the run.
    assert len(pairs) == -(-COUNT // _BATCH)
    processes = [context.Process(target=_trained, args=(pairs, rank, tmp_path)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert pairs.epoch == 0
    for rank in (0, 1):
        begun, *epochs = pickle.loads((tmp_path / str(rank)).read_bytes())
        assert begun == _order(pairs_folder)[:_BATCH]
        for epoch, ids in zip((0, 1 + rank), epochs, strict=True):
            alone = _pairs(pairs_folder, epoch, rank=rank, world_size=2)
            assert ids == [*ids_of(alone)]


def _resumed(pairs: NoisePairDataset, rank: int, folder: Path) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    torch.manual_seed(rank)
    lengths = [len([*ids_of(_loader(pairs, multiprocessing_context="fork"))]) for _ in range(2)]
    (folder / str(rank)).write_bytes(pickle.dumps(lengths))


@pytest.mark.parametrize("start", ["forkserver", "fork"])
def test_processes_use_a_loaded_state_once_each(
    pairs_folder: Path, tmp_path: Path, forkserver: Any, start: str
) -> None:
    pairs = _pairs(pairs_folder)
    pairs.load_state_dict(_pairs(pairs_folder, rank=0, world_size=2).state_after(_BEGUN))
    for rank in (0, 1):
        context: Any = multiprocessing.get_context(start)
        process = context.Process(target=_resumed, args=(pairs, rank, tmp_path))
        process.start()
        process.join()
        lengths = pickle.loads((tmp_path / str(rank)).read_bytes())
        assert lengths == [COUNT // 2 - _BEGUN * _BATCH, COUNT // 2]


@pytest.mark.parametrize("persistent", [True, False])
def test_workers_that_are_not_forked_follow_their_loader(
    pairs_folder: Path, forkserver: Any, persistent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = [_pairs(pairs_folder, epoch, rank=1, world_size=2) for epoch in (0, 3)]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    pairs = _pairs(pairs_folder)
    loader = _loader(pairs, multiprocessing_context=forkserver, persistent_workers=persistent)
    pairs.load_state_dict(pairs.state_after(1))
    assert [*ids_of(loader)] == [*ids_of(ranks[0])][_BATCH:]
    assert [*ids_of(loader)] == [*ids_of(ranks[0])]
    pairs.set_epoch(3)
    assert [*ids_of(loader)] == [*ids_of(ranks[1])]
    with pytest.raises(UserError, match="only they know how far"):
        pairs.state_dict()


def test_workers_use_the_rank_of_their_loader(
    pairs_folder: Path, forkserver: Any, tmp_path: Path
) -> None:
    """A spawned worker belongs to no process group."""
    init = f"file://{tmp_path}/join"
    dist.init_process_group("gloo", init_method=init, rank=0, world_size=1)
    try:
        with pytest.MonkeyPatch.context() as env:
            env.setenv("RANK", "1")
            env.setenv("WORLD_SIZE", "2")
            pairs = _pairs(pairs_folder)
            for context in ("fork", forkserver):
                loader = _loader(pairs, multiprocessing_context=context)
                assert [*ids_of(loader)] == _order(pairs_folder)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("kind", [DataLoader, StatefulDataLoader])
@pytest.mark.parametrize("persistent", [True, False])
def test_loaded_state_is_used_once_under_one_torch_seed(
    pairs_folder: Path, kind: Any, persistent: bool
) -> None:
    pairs = _pairs(pairs_folder)
    pairs.load_state_dict(pairs.state_after(_BEGUN))
    loader = kind(pairs, batch_size=None, num_workers=2, persistent_workers=persistent)
    lengths = []
    for _ in range(3):
        torch.manual_seed(7)
        lengths.append(len([*ids_of(loader)]))
    assert lengths == [COUNT - _BEGUN * _BATCH, COUNT, COUNT]


@pytest.mark.parametrize("persistent", [True, False])
def test_epoch_after_a_resumed_one_counts_from_its_start(
    pairs_folder: Path, persistent: bool
) -> None:
    pairs = _pairs(pairs_folder)
    pairs.load_state_dict(pairs.state_after(_BEGUN))
    loader = _loader(pairs, persistent_workers=persistent)
    assert len([*ids_of(loader)]) == COUNT - _BEGUN * _BATCH
    next(iter(loader))
    assert pairs.state_after(1) == _pairs(pairs_folder).state_after(1)
    assert len([*ids_of(pairs)]) == COUNT, "also without workers"


def test_state_loaded_while_persistent_workers_are_alive_is_refused(pairs_folder: Path) -> None:
    pairs = _pairs(pairs_folder)
    loader = _loader(pairs, persistent_workers=True)
    assert [*ids_of(loader)] == _order(pairs_folder)
    pairs.load_state_dict(pairs.state_after(_BEGUN))
    with pytest.raises(UserError, match="make a new DataLoader"):
        next(iter(loader))
    assert len([*ids_of(_loader(pairs))]) == COUNT - _BEGUN * _BATCH
    pairs.load_state_dict(_pairs(pairs_folder).state_after(_BEGUN))
    pairs.set_epoch(1)
    assert [*ids_of(loader)] == _order(pairs_folder, 1)


def test_count_of_a_resumed_epoch_starts_where_it_was_resumed(pairs_folder: Path) -> None:
    pairs = _pairs(pairs_folder)
    pairs.load_state_dict(pairs.state_after(_BEGUN))
    for loader in (pairs, _loader(pairs)):
        begun = iter(loader)
        next(begun)
        assert pairs.state_after(1) == _pairs(pairs_folder).state_after(_BEGUN + 1)
        pairs.load_state_dict(_pairs(pairs_folder).state_after(_BEGUN))
