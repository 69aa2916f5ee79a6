"""States from the middle of an epoch, continued with the same or other ranks and workers."""

import json
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from benchmarks.sdxl_pairs import write_pairs
from pipeline.core.errors import UserError
from pipeline.reader import NoisePairDataset
from tests.reader.conftest import COUNT, SHAPE
from tests.reader.reading import ids_of, ledger_of

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def _pairs(folder: Path, rank: int = 0, world_size: int = 1, **options: Any) -> NoisePairDataset:
    options = {"seed": 3, "remainder": "keep", **options}
    pairs = NoisePairDataset(str(folder), rank=rank, world_size=world_size, **options)
    pairs.set_epoch(2)
    return pairs


def _loader(pairs: NoisePairDataset, batch_size: int | None, workers: int) -> StatefulDataLoader:
    return StatefulDataLoader(pairs, batch_size=batch_size, num_workers=workers)


@pytest.mark.parametrize("batched", ["by the reader", "by the loader"])
@pytest.mark.parametrize(
    ("before", "after"), [((1, 2), (2, 0)), ((2, 0), (1, 3)), ((3, 2), (2, 1))]
)
def test_state_continues_exactly_with_other_ranks_and_workers(
    pairs_folder: Path, batched: str, before: tuple[int, int], after: tuple[int, int]
) -> None:
    """All processes together read each pair once, over two changes of ranks and workers."""
    sizes = (8, None) if batched == "by the reader" else (None, 8)
    seen: list[str] = []
    state: Any = None
    for (world_size, workers), steps in ((before, 3), (after, 2), ((2, 0), None)):
        states = []
        for rank in range(world_size):
            pairs = _pairs(pairs_folder, rank, world_size, batch_size=sizes[0])
            if state is not None:
                pairs.load_state_dict(state)
            loader = _loader(pairs, sizes[1], workers)
            seen += ids_of(islice(loader, steps))
            states.append(loader.state_dict())
        # All ranks are in step, so the state of any rank is enough. It must survive a JSON file.
        state = json.loads(json.dumps(states[-1], default=str))
    assert sorted(seen) == sorted(row["sample_id"] for row in ledger_of(pairs_folder))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batched", ["by the reader", "by the loader"])
def test_stateful_loader_resumes_from_its_state(
    pairs_folder: Path, workers: int, batched: str
) -> None:
    sizes = (8, None) if batched == "by the reader" else (None, 8)
    complete = [*ids_of(_loader(_pairs(pairs_folder, batch_size=sizes[0]), sizes[1], workers))]
    loader = _loader(_pairs(pairs_folder, batch_size=sizes[0]), sizes[1], workers)
    begun = [*ids_of(islice(loader, 5))]
    again = _loader(_pairs(pairs_folder, batch_size=sizes[0]), sizes[1], workers)
    again.load_state_dict(loader.state_dict())
    assert [*begun, *ids_of(again)] == complete
    assert [*ids_of(again)] == complete, "the next epoch is complete"


def test_resumed_rank_continues_its_order(pairs_folder: Path) -> None:
    complete = [*ids_of(_pairs(pairs_folder))]
    for at in (0, 1, 77, COUNT - 1, COUNT):
        pairs = _pairs(pairs_folder)
        begun = [*ids_of(islice(pairs, at))]
        again = _pairs(pairs_folder)
        again.load_state_dict(pairs.state_dict())
        assert [*begun, *ids_of(again)] == complete
        assert [*ids_of(again)] == complete


def test_set_epoch_keeps_a_loaded_state_of_the_same_epoch_only(pairs_folder: Path) -> None:
    pairs = _pairs(pairs_folder)
    left = [*ids_of(pairs)][9:]
    assert len(left) == COUNT - 9
    pairs = _pairs(pairs_folder)
    begun = iter(pairs)
    for _ in range(9):
        next(begun)
    state = pairs.state_dict()
    again = NoisePairDataset(str(pairs_folder), seed=3, remainder="keep")
    again.load_state_dict(state)
    assert again.epoch == 2 and again.state_dict() == state
    again.set_epoch(2)
    assert [*ids_of(again)] == left
    again.load_state_dict(state)
    again.set_epoch(3)
    assert len([*again]) == COUNT


def test_loaded_state_is_used_by_one_set_of_workers(pairs_folder: Path) -> None:
    pairs = _pairs(pairs_folder, batch_size=8)
    pairs.load_state_dict(pairs.state_after(4))
    loader = DataLoader(pairs, batch_size=None, num_workers=2)
    assert len([*ids_of(loader)]) == COUNT - 32
    assert len([*ids_of(loader)]) == COUNT


def test_plain_loader_with_workers_supports_only_state_after(
    pairs_folder: Path,
) -> None:
    pairs = _pairs(pairs_folder, batch_size=8)
    begun = iter(DataLoader(pairs, batch_size=None, num_workers=2))
    seen = [*ids_of(islice(begun, 5))]
    with pytest.raises(UserError, match="only they know how far: use StatefulDataLoader"):
        pairs.state_dict()
    again = _pairs(pairs_folder, batch_size=8)
    again.load_state_dict(pairs.state_after(5))
    complete = [*ids_of(_pairs(pairs_folder))]
    assert [*seen, *ids_of(again)] == complete


def test_state_of_one_worker_is_refused(pairs_folder: Path) -> None:
    loader = _loader(_pairs(pairs_folder), 8, 2)
    next(iter(loader))
    part = loader.state_dict()["_snapshot"]["_worker_snapshots"]["worker_0"]
    with pytest.raises(UserError, match="one DataLoader worker among several"):
        _pairs(pairs_folder).load_state_dict(part)


def test_state_older_than_what_was_read_is_refused(pairs_folder: Path) -> None:
    loader = StatefulDataLoader(
        _pairs(pairs_folder), batch_size=8, num_workers=2, snapshot_every_n_steps=3
    )
    batches: Iterator[Any] = iter(loader)
    next(batches)
    with pytest.raises(UserError, match="snapshot_every_n_steps=1"):
        _pairs(pairs_folder).load_state_dict(loader.state_dict())


def test_loader_with_another_world_size_explains_how_to_load(pairs_folder: Path) -> None:
    loader = _loader(_pairs(pairs_folder, 0, 2), 8, 2)
    next(iter(loader))
    other = _loader(_pairs(pairs_folder, 0, 3), 8, 2)
    other.load_state_dict(loader.state_dict())
    with pytest.raises(UserError, match=r"pairs\.load_state_dict\(state\)") as raised:
        next(iter(other))
    # Otherwise the garbage collector ends these workers and waits five seconds for each.
    traceback.clear_frames(raised.tb)
    del raised


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"seed": 4}, "seed"),
        ({"prompt": "fox"}, "filters"),
        ({"split": "test"}, "split"),
        ({"shuffle_bytes": 10}, "shuffle_bytes"),
    ],
)
def test_state_with_other_settings_is_refused(
    pairs_folder: Path, other: dict[str, Any], name: str
) -> None:
    state = _pairs(pairs_folder).state_dict()
    with pytest.raises(UserError, match=f"position in something else: its {name} is"):
        _pairs(pairs_folder, **other).load_state_dict(state)
    with pytest.raises(UserError, match="holds no position"):
        _pairs(pairs_folder).load_state_dict({"epoch": 1})


def test_state_of_other_data_is_refused(pairs_folder: Path, tmp_path: Path) -> None:
    write_pairs(str(tmp_path), COUNT, latent_shape=SHAPE, seed=1)
    with pytest.raises(UserError, match="its data is"):
        _pairs(tmp_path).load_state_dict(_pairs(pairs_folder).state_dict())
