"""Partition of an epoch among ranks and workers, and its progress: pure arithmetic."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reader.partition import REMAINDERS, Partition, Progress

_PARTITIONS = st.builds(
    Partition,
    world_size=st.integers(1, 5),
    batch_size=st.integers(1, 5),
    remainder=st.sampled_from(REMAINDERS),
    drop_last=st.booleans(),
)
_TOTAL = st.integers(0, 70)


def _batches(partition: Partition, total: int, rank: int) -> list[list[int]]:
    places = partition.places(total, rank).tolist()
    return [
        places[at : at + partition.batch_size] for at in range(0, len(places), partition.batch_size)
    ]


@given(partition=_PARTITIONS, total=_TOTAL)
def test_partition_gives_each_place_to_one_rank_and_counts_them(
    partition: Partition, total: int
) -> None:
    by_rank = [_batches(partition, total, rank) for rank in range(partition.world_size)]
    for rank, batches in enumerate(by_rank):
        assert partition.num_batches(total, rank) == len(batches)
        assert partition.num_places(total, rank) == sum(map(len, batches))
    places = sorted(place for batches in by_rank for batch in batches for place in batch)
    assert places == list(range(partition.usable(total)))
    full = {len(batch) for batches in by_rank for batch in batches[:-1]}
    assert full <= {partition.batch_size}


@given(partition=_PARTITIONS, total=_TOTAL)
def test_ranks_have_equally_many_places_unless_the_remainder_is_kept(
    partition: Partition, total: int
) -> None:
    counts = [partition.num_places(total, rank) for rank in range(partition.world_size)]
    assert max(counts) - min(counts) <= (partition.remainder == "keep")
    if not partition.drop_last:
        least = {"drop": total - partition.world_size + 1, "repeat": total, "keep": total}
        assert least[partition.remainder] <= sum(counts) < total + partition.world_size


@settings(max_examples=300)
@given(total=_TOTAL, data=st.data())
def test_progress_through_changing_layouts_gives_each_place_once(
    total: int, data: st.DataObject
) -> None:
    """Ranks, workers, batch size and rule change at each of a few stops."""
    progress, seen, left_out = Progress(), [], 0
    for stop in range(4):
        partition = data.draw(_PARTITIONS.filter(lambda partition: partition.remainder != "repeat"))
        workers = data.draw(st.integers(1, 4))
        remaining = progress.remaining(total)
        assert len(remaining) == progress.num_remaining(total)
        steps = partition.num_steps(len(remaining))
        most = [len(range(worker, steps, workers)) for worker in range(workers)]
        taken = most if stop == 3 else [data.draw(st.integers(0, count)) for count in most]
        for rank in range(partition.world_size):
            batches = _batches(partition, len(remaining), rank)
            for worker, count in enumerate(taken):
                for batch in batches[worker::workers][:count]:
                    seen += remaining[batch].tolist()
        left_out = len(remaining) - partition.usable(len(remaining))
        progress = progress.after(total, partition.done(len(remaining), taken))
        if taken == most:
            break
    assert progress.num_remaining(total) == 0
    assert len(seen) == len(set(seen)) == total - left_out


def test_progress_of_workers_in_turn_is_one_number() -> None:
    partition = Partition(world_size=2, batch_size=3)
    progress = Progress(position=6).after(60, partition.done(54, [2, 2, 1]))
    assert progress == Progress(position=36)
