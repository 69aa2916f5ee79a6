"""Order of an epoch: pure arithmetic."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reader.order import Pool, epoch_order, sliding_order


def _pool(counts: list[int], weight: float = 1.0) -> Pool:
    sizes = np.array(counts) * 100
    return Pool(counts=np.array(counts, np.int64), num_bytes=sizes, weight=weight)


_COUNTS = st.lists(st.integers(0, 7), max_size=8)


@given(counts=_COUNTS, seed=st.integers(0, 99), window=st.integers(0, 3000))
def test_sliding_order_is_a_permutation(counts: list[int], seed: int, window: int) -> None:
    pool = _pool(counts)
    order = sliding_order(pool.counts, pool.num_bytes, window, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(sum(counts)))


@given(seed=st.integers(0, 99), window=st.integers(0, 6000))
def test_sliding_order_needs_no_more_than_a_window_and_two_shards_at_once(
    seed: int, window: int
) -> None:
    pool = _pool([10] * 20)
    order = sliding_order(pool.counts, pool.num_bytes, window, np.random.default_rng(seed))
    shards = order // 10
    in_use = [len(set(shards[:at]) & set(shards[at:])) for at in range(len(order))]
    assert max(in_use) * 1000 <= window + 2 * 1000


def test_sliding_order_mixes_rows_of_a_window() -> None:
    pool = _pool([50] * 20)
    order = sliding_order(pool.counts, pool.num_bytes, 40_000, np.random.default_rng(0))
    shards = order // 50
    middle = [len(set(shards[at : at + 50].tolist())) for at in range(400, 600)]
    assert min(middle) >= 5
    assert len(set(shards[:8].tolist())) <= 3, "the first rows need few shards"


def test_epoch_order_is_a_function_of_seed_and_epoch() -> None:
    pools = [_pool([5, 6, 7])]
    orders = [epoch_order(pools, *key, 1000)[1].tolist() for key in [(1, 0), (1, 1), (2, 0)]]
    assert orders[0] == epoch_order(pools, 1, 0, 1000)[1].tolist()
    assert len({tuple(order) for order in orders}) == 3


def test_epoch_order_without_seed_is_the_stored_order() -> None:
    assert epoch_order([_pool([2, 3])], None, 5, 1000)[1].tolist() == [0, 1, 2, 3, 4]


@given(
    parts=st.lists(st.tuples(_COUNTS, st.sampled_from([0.3, 1.0, 1.7, 3.0])), min_size=2),
    seed=st.none() | st.integers(0, 9),
)
def test_epoch_order_weights_draw_complete_passes_and_a_part(
    parts: list[tuple[list[int], float]], seed: int | None
) -> None:
    pools = [_pool(counts, weight) for counts, weight in parts]
    owners, rows = epoch_order(pools, seed, 3, 1000)
    for number, pool in enumerate(pools):
        drawn = np.bincount(rows[owners == number], minlength=pool.num_rows)
        assert drawn.sum() == round(pool.weight * pool.num_rows)
        if pool.num_rows:
            assert drawn.max() - drawn.min() <= 1


def test_epoch_order_interleaves_pools_evenly() -> None:
    owners, _ = epoch_order([_pool([300]), _pool([50], 2.0)], 0, 0, 10_000)
    parts = [owners[at : at + 40].mean() for at in range(0, 360, 40)]
    assert all(abs(part - 0.25) <= 0.05 for part in parts)
