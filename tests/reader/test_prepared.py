"""Loaders that accelerate prepared: pairs are split among processes once, or it is an error."""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import accelerate.data_loader  # imported once here and not in each process below
import pytest
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader, IterableDataset

from pipeline.core.errors import UserError
from pipeline.reader import NoisePairDataset
from tests.reader.conftest import COUNT
from tests.reader.reading import ids_of, read_all

_BATCH = 16


@pytest.fixture(autouse=True)
def _no_state_of_accelerate() -> Iterator[None]:
    """Reset the state that accelerate keeps for a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


class _Mapped(IterableDataset[Any]):
    """A user's data set that wraps the reader."""

    def __init__(self, pairs: NoisePairDataset) -> None:
        self._source = pairs

    def __iter__(self) -> Any:
        return iter(self._source)


def _each_process() -> Accelerator:
    """Return an accelerator that does not dispatch batches from the first process."""
    config = DataLoaderConfiguration(dispatch_batches=False)
    return Accelerator(cpu=True, dataloader_config=config)


def _read(url: str, options: dict[str, Any]) -> list[str]:
    """Return the pairs of this process, through a loader that accelerate prepared."""
    config = DataLoaderConfiguration(dispatch_batches=options.pop("dispatch", None))
    wrap = options.pop("wrap", lambda pairs: pairs)
    by_loader = options.pop("by_loader", None)
    workers = options.pop("workers", 0)
    accelerator = Accelerator(cpu=True, dataloader_config=config)
    options.setdefault("columns", ["sample_id", "golden_noise"])
    pairs = NoisePairDataset(url, seed=1, **options)
    loader = DataLoader(wrap(pairs), batch_size=by_loader, num_workers=workers)
    return [*ids_of(accelerator.prepare(loader))]


def _as_rank(rank: int, folder: Path, url: str, cases: dict[str, dict[str, Any]]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    # accelerate requires these variables and does not use them, because the group exists.
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="0", LOCAL_WORLD_SIZE="2")
    dist.init_process_group("gloo", init_method=f"file://{folder}/join", rank=rank, world_size=2)
    answers: dict[str, Any] = {}
    for name, options in cases.items():
        try:
            answers[name] = _read(url, options)
        except UserError as error:
            answers[name] = str(error)
    (folder / str(rank)).write_bytes(pickle.dumps(answers))
    dist.barrier()
    dist.destroy_process_group()


def _of_two_ranks(folder: Path, url: str, cases: dict[str, dict[str, Any]]) -> list[Any]:
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_as_rank, args=(rank, folder, url, cases)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
        process.kill()
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in (0, 1)]


def test_loader_prepared_for_several_processes_is_refused(
    pairs_folder: Path, tmp_path: Path
) -> None:
    cases: dict[str, dict[str, Any]] = {
        "batches": {"batch_size": _BATCH},
        "batches, workers": {"batch_size": _BATCH, "workers": 2},
        "batches, each process": {"batch_size": _BATCH, "dispatch": False},
        "samples": {"by_loader": _BATCH},
        "samples, each process": {"by_loader": _BATCH, "dispatch": False},
        "samples, each process, workers": {"by_loader": 8, "dispatch": False, "workers": 2},
        "wrapped": {"by_loader": _BATCH, "dispatch": False, "wrap": _Mapped},
        "batches to accelerate": {
            "batch_size": _BATCH, "dispatch": False, "rank": 0, "world_size": 1,
        },
        "samples that would be split": {
            "columns": ["golden_noise"], "dispatch": True, "rank": 0, "world_size": 1,
        },
        "left to accelerate": {
            "by_loader": _BATCH, "dispatch": False, "rank": 0, "world_size": 1,
        },
        "left to accelerate, workers": {
            "by_loader": _BATCH, "dispatch": False, "rank": 0, "world_size": 1, "workers": 2,
        },
    }  # fmt: skip
    answers = _of_two_ranks(tmp_path, str(pairs_folder), cases)
    everything = {*read_all(str(pairs_folder), 1, 0)[0]}
    for name in cases:
        first, second = (answer[name] for answer in answers)
        if name.startswith("left"):
            assert {*first, *second} == everything
            assert len(first) == len(second) < COUNT // 2 + 2 * _BATCH
        else:
            for answer in (first, second):
                assert "do not prepare the loader" in answer, f"{name}: {len(answer)} pairs"


def test_texts_that_accelerate_would_dispatch_are_refused(pairs_folder: Path) -> None:
    for columns in (["prompt", "golden_noise"], ["golden_noise", "prompt"]):
        pairs = NoisePairDataset(str(pairs_folder), batch_size=_BATCH, columns=columns)
        prepared = Accelerator(cpu=True).prepare(DataLoader(pairs, batch_size=None))
        with pytest.raises(UserError, match="cannot do with texts"):
            next(iter(prepared))
    pairs = NoisePairDataset(str(pairs_folder), batch_size=_BATCH, columns=["golden_noise"])
    prepared = Accelerator(cpu=True).prepare(DataLoader(pairs, batch_size=None))
    assert sum(len(batch["golden_noise"]) for batch in prepared) == COUNT


def test_loader_prepared_for_one_process_reads_epoch_after_epoch(pairs_folder: Path) -> None:
    pairs = NoisePairDataset(str(pairs_folder), seed=1, batch_size=_BATCH)
    prepared = _each_process().prepare(DataLoader(pairs, batch_size=None, num_workers=2))
    for epoch in (0, 1):
        alone = NoisePairDataset(str(pairs_folder), seed=1, batch_size=_BATCH)
        alone.set_epoch(epoch)
        assert [*ids_of(prepared)] == [*ids_of(alone)]
        assert pairs.epoch == epoch


def _at_epoch(pairs: NoisePairDataset) -> None:
    pairs.set_epoch(3)


def _in_epoch(pairs: NoisePairDataset) -> None:
    pairs.set_epoch(3)
    pairs.load_state_dict(pairs.state_after(2))


@pytest.mark.parametrize(("put", "count"), [(_at_epoch, COUNT), (_in_epoch, COUNT - 2 * _BATCH)])
def test_prepared_loader_that_would_start_another_epoch_is_refused(
    pairs_folder: Path, put: Callable[[NoisePairDataset], None], count: int
) -> None:
    pairs = NoisePairDataset(str(pairs_folder), seed=1, batch_size=_BATCH)
    prepared = _each_process().prepare(DataLoader(pairs, batch_size=None, num_workers=1))
    put(pairs)
    with pytest.raises(UserError, match=r"loader\.set_epoch\(3\)"):
        next(iter(prepared))
    prepared.set_epoch(pairs.epoch)
    assert len([*ids_of(prepared)]) == count
    assert len([*ids_of(prepared)]) == COUNT and pairs.epoch == 4


def test_data_set_read_inside_a_prepared_loop_is_not_affected(pairs_folder: Path) -> None:
    outer = NoisePairDataset(str(pairs_folder), batch_size=100)
    inner = NoisePairDataset(str(pairs_folder), seed=1, batch_size=_BATCH, rank=1, world_size=2)
    for _ in _each_process().prepare(DataLoader(outer, batch_size=None)):
        assert accelerate.data_loader.GradientState().in_dataloader
        inner.set_epoch(2)
        assert len([*ids_of(inner)]) == COUNT // 2
