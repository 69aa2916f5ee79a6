"""Bills of plans: closed forms of each policy, and requests counted at a store in memory."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import TypeVar

import pytest

from pipeline.core.errors import ObjectNotFoundError
from pipeline.evaluate.bill import Total, bills, requests_of
from pipeline.publish.compact import compact_in
from pipeline.publish.seal import seal
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import commit_unit, read_receipt
from pipeline.workflows.plan import make_plan
from tests.faults.simulated.cases import store_of_client
from tests.faults.simulated.memory_s3 import MemoryS3
from tests.faults.simulated.memory_store import Clock, Objects
from tests.faults.simulated.stand_in import SHAPE, StandIn, stand_in
from tests.sealed import changed, demo_prompts, write_config

T = TypeVar("T")

_READS = ("get_object", "head_object")


class Counted:
    """Makes every request at once and counts it."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()

    def make(self, method: str, key: str, effect: Callable[[], T]) -> T:
        self.requests["reads" if method in _READS else "writes"] += 1
        return effect()


def _counted(made: StandIn) -> tuple[Counter[str], int]:
    """Return the requests of a build and of sealing it, and the number of its pairs."""
    counted = Counted()
    store = store_of_client(MemoryS3(Objects(Clock()), counted))
    write_plan(store, made.plan, made.prompts)
    for unit, produced in enumerate(made.units):
        # A worker looks for a receipt before it computes.
        with pytest.raises(ObjectNotFoundError):
            read_receipt(store, made.plan.plan_id, unit)
        commit_unit(store, made.receipt(unit, attempt_id="a", host="h"), produced.data)
    manifest = seal(store, made.plan, made.prompts, partial(map, partial(compact_in, store)))
    return counted.requests, manifest.funnel.in_shards


@pytest.mark.parametrize("num_prompts", [4, 16])
@pytest.mark.parametrize("share", [None, 0.5])
def test_requests_are_those_that_a_build_makes(
    tmp_path: Path, num_prompts: int, share: float | None
) -> None:
    made = stand_in(tmp_path, num_prompts=num_prompts, share=share)
    requests, pairs = _counted(made)
    values = SHAPE[0] * SHAPE[1] * SHAPE[2]
    found = requests_of(made.plan, pairs, 2 * 2 * values + len("prompt 14"))
    # The estimate knows neither in which splits the pairs are nor how they fill the shards. Each of
    # the three splits has a last shard in two formats, unless it is empty.
    assert found.writes == pytest.approx(requests["writes"], rel=0.1, abs=6)
    assert found.reads == pytest.approx(requests["reads"], rel=0.1, abs=6)


def test_each_policy_has_its_evaluations_and_pairs(tmp_path: Path) -> None:
    plan, _ = make_plan(write_config(tmp_path, prompts=demo_prompts(2)))
    everything, sample = bills(plan, kept_share=0.6)
    # Four steps of two images, and two evaluations down and one back.
    assert (everything.evaluations, everything.images, everything.pairs) == (2 * 4 + 3, 2, 0.6)
    assert everything.is_planned and not sample.is_planned
    assert sample.evaluations == pytest.approx(3 + 0.05 * 8)
    assert [sample.images, sample.pairs] == pytest.approx([0.1, 0.95 + 0.05 * 0.6])
    assert sample.gpu_seconds(2.0, 10.0) == pytest.approx(2 * 3.4 + 10 * 0.1)


def test_planned_sample_is_compared_with_judging_all(tmp_path: Path) -> None:
    settings = changed(judging={"policy": "sample", "share": 0.2}, output={"images": "none"})
    plan, _ = make_plan(write_config(tmp_path, settings, prompts=demo_prompts(2)))
    planned, everything = bills(plan, kept_share=1.0)
    assert (planned.share, planned.is_planned, planned.pairs) == (0.2, True, 1.0)
    assert (everything.share, everything.is_planned) == (None, False)


def test_budget_buys_as_many_pairs_as_their_price_allows(tmp_path: Path) -> None:
    plan, _ = make_plan(write_config(tmp_path, prompts=demo_prompts(2)))
    total = Total(
        bill=bills(plan, kept_share=0.5)[0],
        gpu="any",
        candidates=200,
        seconds_per_candidate=36.0,
        price=2.0,
    )
    # 200 candidates take 2 hours, cost 4 and give 100 pairs.
    assert (total.gpu_hours, total.cost, total.pairs) == (2.0, 4.0, 100)
    assert total.cost_per_thousand_pairs == 40.0
    assert total.pairs_for(10.0) == 250


@pytest.mark.parametrize(("price", "kept_share"), [(None, 0.5), (2.0, 0.0)])
def test_unknown_price_and_no_pairs_have_no_price_of_a_pair(
    tmp_path: Path, price: float | None, kept_share: float
) -> None:
    plan, _ = make_plan(write_config(tmp_path, prompts=demo_prompts(2)))
    bill = bills(plan, kept_share)[0]
    total = Total(bill=bill, gpu="any", candidates=2, seconds_per_candidate=1.0, price=price)
    assert total.cost_per_thousand_pairs is None
    assert total.pairs_for(inf) is None
