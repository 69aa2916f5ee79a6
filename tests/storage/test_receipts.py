"""Commits: the first attempt at a unit wins, and one that disagrees is stored separately."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.stages.unit import ProducedUnit
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import (
    Commit,
    commit_unit,
    disagreement_keys,
    read_disagreement,
    read_receipt,
    read_receipts,
)
from tests.sealed import Built, built, receipt_of

__all__ = ["built"]


def test_second_attempt_leaves_the_first(store: ObjectStore, built: Built) -> None:
    plan, first = built.plan, built.units[0]
    mine = receipt_of(plan, 0, first, attempt_id="one")
    assert commit_unit(store, mine, first.data) is Commit.MINE
    assert commit_unit(store, mine, first.data) is Commit.MINE, "its reply was lost"
    late = receipt_of(plan, 0, first, attempt_id="two")
    assert commit_unit(store, late, first.data) is Commit.SAME
    assert read_receipt(store, plan.plan_id, 0) == mine
    assert list(disagreement_keys(store, plan.plan_id)) == []


def test_attempts_that_disagree_are_kept_beside_the_first(store: ObjectStore, built: Built) -> None:
    plan, (first, other) = built.plan, built.units[:2]
    mine = receipt_of(plan, 0, first, attempt_id="one")
    assert commit_unit(store, mine, first.data) is Commit.MINE

    bytes_differ = receipt_of(plan, 0, other, attempt_id="three")
    score = {"golden_rewards": {"scene": 0.25, "oracle": 0.25}}
    outcomes = (first.outcomes[0].model_copy(update=score), *first.outcomes[1:])
    rescored = ProducedUnit(outcomes=outcomes, data=first.data, forward_evaluations=0)
    score_differs = receipt_of(plan, 0, rescored, attempt_id="two")
    for receipt, data in ((bytes_differ, other.data), (score_differs, first.data)):
        assert commit_unit(store, receipt, data) is Commit.DIFFERENT
        assert commit_unit(store, receipt, data) is Commit.DIFFERENT, "its reply was lost"

    assert read_receipt(store, plan.plan_id, 0) == mine
    kept = [read_disagreement(store, key) for key in disagreement_keys(store, plan.plan_id)]
    assert kept == [bytes_differ, score_differs], "once each, by unit and attempt"
    assert list(disagreement_keys(store, "another")) == []


def test_commit_onto_a_damaged_object_of_that_name_is_refused(
    store: ObjectStore, built: Built
) -> None:
    receipt = receipt_of(built.plan, 0, built.units[0])
    store.put(receipt.data_key, b"rubbish")
    with pytest.raises(VerificationError, match=receipt.data_key):
        commit_unit(store, receipt, built.units[0].data)
    assert store.head(layout.receipt_key(built.plan.plan_id, 0)) is None


def test_receipts_are_read_in_order_up_to_a_missing_one(store: ObjectStore, built: Built) -> None:
    built.commit(store, skip=(3,))
    receipts = read_receipts(store, built.plan.plan_id, built.plan.num_units)
    assert [next(receipts).unit for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ObjectNotFoundError, match="unit 3 of plan"):
        next(receipts)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda receipt: receipt.pop("host"), "no receipt"),
        (lambda receipt: receipt.update(unit=1), "the receipt of another unit"),
        (lambda receipt: receipt.update(plan_id="p"), "the receipt of another unit"),
        (lambda receipt: receipt.update(data_sha256="0" * 64), "with the digest 0000"),
    ],
    ids=["field", "unit", "plan", "digest"],
)
def test_receipt_that_contradicts_itself_is_damaged(
    store: ObjectStore, built: Built, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    built.commit(store, skip=tuple(range(1, len(built.units))))
    key = layout.receipt_key(built.plan.plan_id, 0)
    receipt = json.loads(store.get(key))
    edit(receipt)
    store.put(key, json.dumps(receipt).encode())
    with pytest.raises(VerificationError, match=f"{key}: .*{message}"):
        read_receipt(store, built.plan.plan_id, 0)
