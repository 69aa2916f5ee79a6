"""How an epoch is dealt out, and how far it has come: pure arithmetic."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reader.partition import REMAINDERS, Partition, Progress

_DEALS = st.builds(
    Partition,
    world_size=st.integers(1, 5),
    batch_size=st.integers(1, 5),
    remainder=st.sampled_from(REMAINDERS),
    drop_last=st.booleans(),
)
_TOTAL = st.integers(0, 70)


def _batches(deal: Partition, total: int, rank: int) -> list[list[int]]:
    places = deal.places(total, rank).tolist()
    return [places[at : at + deal.batch_size] for at in range(0, len(places), deal.batch_size)]


@given(deal=_DEALS, total=_TOTAL)
def test_deal_gives_each_place_once_and_ranks_what_it_counts(deal: Partition, total: int) -> None:
    dealt = [_batches(deal, total, rank) for rank in range(deal.world_size)]
    for rank, batches in enumerate(dealt):
        assert deal.num_batches(total, rank) == len(batches)
        assert deal.num_places(total, rank) == sum(map(len, batches))
    places = sorted(place for batches in dealt for batch in batches for place in batch)
    assert places == list(range(deal.usable(total)))
    full = {len(batch) for batches in dealt for batch in batches[:-1]}
    assert full <= {deal.batch_size}


@given(deal=_DEALS, total=_TOTAL)
def test_deal_ranks_have_equally_many_unless_all_are_kept(deal: Partition, total: int) -> None:
    counts = [deal.num_places(total, rank) for rank in range(deal.world_size)]
    assert max(counts) - min(counts) <= (deal.remainder == "keep")
    if not deal.drop_last:
        least = {"drop": total - deal.world_size + 1, "repeat": total, "keep": total}
        assert least[deal.remainder] <= sum(counts) < total + deal.world_size


@settings(max_examples=300)
@given(total=_TOTAL, data=st.data())
def test_progress_through_changing_layouts_gives_each_place_once(
    total: int, data: st.DataObject
) -> None:
    """Ranks, workers, batch size and rule change at each of a few stops."""
    progress, seen, left_out = Progress(), [], 0
    for stop in range(4):
        deal = data.draw(_DEALS.filter(lambda deal: deal.remainder != "repeat"))
        workers = data.draw(st.integers(1, 4))
        remaining = progress.remaining(total)
        assert len(remaining) == progress.num_remaining(total)
        steps = deal.num_steps(len(remaining))
        most = [len(range(worker, steps, workers)) for worker in range(workers)]
        taken = most if stop == 3 else [data.draw(st.integers(0, count)) for count in most]
        for rank in range(deal.world_size):
            batches = _batches(deal, len(remaining), rank)
            for worker, count in enumerate(taken):
                for batch in batches[worker::workers][:count]:
                    seen += remaining[batch].tolist()
        left_out = len(remaining) - deal.usable(len(remaining))
        progress = progress.after(total, deal.dealt(len(remaining), taken))
        if taken == most:
            break
    assert progress.num_remaining(total) == 0
    assert len(seen) == len(set(seen)) == total - left_out


def test_progress_of_workers_in_turn_is_one_number() -> None:
    deal = Partition(world_size=2, batch_size=3)
    progress = Progress(position=6).after(60, deal.dealt(54, [2, 2, 1]))
    assert progress == Progress(position=36)
