"""Assignment of pairs to shards."""

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.fingerprint import Fingerprint
from pipeline.core.records import SCHEMA_VERSION, Outcome, Split, Status
from pipeline.publish.compact import ShardPlan, plan_shards
from pipeline.storage.receipts import Receipt

FINGERPRINT = Fingerprint(
    algorithm_version=1, python="3", packages={}, device="d", kernels="k", threads=1
)
LIMIT = 100


def _outcome(index: int, split: Split, num_bytes: int | None) -> Outcome:
    kept = num_bytes is not None
    return Outcome(
        candidate=index,
        sample_id=str(index),
        prompt_id="p",
        split=split,
        seed=index,
        status=Status.KEPT if kept else Status.REJECTED,
        reason=None if kept else "reward:r",
        truncated=False,
        source_rewards={},
        golden_rewards={},
        noise_stats=None,
        num_bytes=num_bytes or 0,
    )


def _receipts(units: list[list[tuple[Split, int | None]]]) -> list[Receipt]:
    receipts, index = [], 0
    for unit, candidates in enumerate(units):
        outcomes = []
        for split, num_bytes in candidates:
            outcomes.append(_outcome(index, split, num_bytes))
            index += 1
        receipts.append(
            Receipt(
                schema_version=SCHEMA_VERSION,
                plan_id="p",
                unit=unit,
                data_key=f"units/{unit}",
                data_sha256=f"sha-{unit}",
                data_bytes=1,
                latent_shape=(1,),
                outcomes=tuple(outcomes),
                forward_evaluations=0,
                fingerprint=FINGERPRINT,
                attempt_id="a",
                host="h",
                started="now",
                compute_seconds=0.0,
            )
        )
    return receipts


def _samples(shard: ShardPlan, receipts: list[Receipt]) -> list[Outcome]:
    """Return the outcomes to which a shard refers."""
    found = []
    for unit in shard.units:
        receipt = receipts[int(unit.data_key.removeprefix("units/"))]
        assert unit.data_sha256 == receipt.data_sha256
        pairs = list(receipt.in_shards())
        found += [pairs[row] for row in unit.rows]
    return found


UNITS = st.lists(
    st.lists(
        st.tuples(st.sampled_from(Split), st.none() | st.integers(1, 150)), min_size=1, max_size=8
    ),
    max_size=8,
)


@given(UNITS)
def test_shards_hold_every_kept_pair_once_in_order(
    units: list[list[tuple[Split, int | None]]],
) -> None:
    receipts = _receipts(units)
    shards = list(plan_shards(receipts, LIMIT))
    for split in Split:
        mine = sorted((s for s in shards if s.split is split), key=lambda shard: shard.index)
        assert [shard.index for shard in mine] == list(range(len(mine)))
        found = [outcome for shard in mine for outcome in _samples(shard, receipts)]
        expected = [o for r in receipts for o in r.in_shards() if o.split is split]
        assert found == expected


@given(UNITS)
def test_shards_are_full_but_not_too_full(units: list[list[tuple[Split, int | None]]]) -> None:
    receipts = _receipts(units)
    shards = list(plan_shards(receipts, LIMIT))
    payloads = {}
    for shard in shards:
        sizes = [outcome.num_bytes for outcome in _samples(shard, receipts)]
        assert len(sizes) == shard.num_samples > 0
        assert sum(sizes) <= LIMIT or len(sizes) == 1
        payloads[shard.split, shard.index] = sizes
    for split in Split:
        mine = [sizes for key, sizes in sorted(payloads.items()) if key[0] is split]
        # The first pair of the next shard would not have fitted.
        assert all(sum(left) + right[0] > LIMIT for left, right in pairwise(mine))


@given(UNITS)
def test_shards_do_not_depend_on_how_receipts_come(
    units: list[list[tuple[Split, int | None]]],
) -> None:
    receipts = _receipts(units)

    def reread() -> Iterator[Receipt]:
        for receipt in receipts:
            yield Receipt.model_validate_json(receipt.model_dump_json())

    assert list(plan_shards(receipts, LIMIT)) == list(plan_shards(reread(), LIMIT))


def test_shards_are_yielded_before_all_receipts_are_read() -> None:
    receipts = _receipts([[(Split.TRAIN, 80)]] * 10)
    read = 0

    def counted() -> Iterator[Receipt]:
        nonlocal read
        for receipt in receipts:
            read += 1
            yield receipt

    next(plan_shards(counted(), LIMIT))
    assert read == 2


def test_pair_larger_than_a_shard_gets_its_own() -> None:
    receipts = _receipts([[(Split.TRAIN, 10), (Split.TRAIN, 150), (Split.TRAIN, 10)]])
    assert [shard.num_samples for shard in plan_shards(receipts, LIMIT)] == [1, 1, 1]
