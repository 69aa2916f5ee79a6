"""Damage to receipts, unit objects and the ledger is found and reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.storage.receipts import read_receipt
from tests.publish.damage import Damage, edit_json, flip
from tests.publish.problems import only_problem_in, problems_in
from tests.sealed import Built, manifest_of


@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["byte", "deleted"])
def test_ledger_damaged_is_named(damaged: Path, damage: Damage) -> None:
    key = manifest_of(damaged).ledger.key
    damage(damaged / key)
    assert only_problem_in(damaged).startswith(key)


@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["byte", "deleted"])
def test_unit_object_damaged_is_named(damaged: Path, built: Built, damage: Damage) -> None:
    key = read_receipt(open_store(str(damaged)), built.plan.plan_id, 2).data_key
    damage(damaged / key)
    assert only_problem_in(damaged).startswith(key)


def test_receipt_deleted_is_named(damaged: Path, built: Built) -> None:
    key = layout.receipt_key(built.plan.plan_id, 1)
    (damaged / key).unlink()
    assert only_problem_in(damaged) == f"{key}: missing"


def test_receipt_that_is_no_receipt_is_named(damaged: Path, built: Built) -> None:
    key = layout.receipt_key(built.plan.plan_id, 1)
    (damaged / key).write_bytes(b'{"unit": 1}')
    assert only_problem_in(damaged).startswith(f"{key}: no receipt")


@pytest.mark.parametrize(
    "change",
    [
        lambda outcome: outcome["golden_rewards"].update(oracle=0.123),
        lambda outcome: outcome.update(truncated=True),
        lambda outcome: outcome["noise_stats"].update(std=1.5),
        lambda outcome: outcome.update(sample_id="0" * 16 + "-00000000"),
        lambda outcome: outcome.update(split="test" if outcome["split"] != "test" else "train"),
    ],
    ids=["score", "truncated", "statistics", "sample", "split"],
)
@pytest.mark.parametrize("status", ["kept", "rejected"])
def test_receipt_altered_is_named(
    damaged: Path, built: Built, status: str, change: Callable[[dict[str, Any]], None]
) -> None:
    unit = next(
        number
        for number, unit in enumerate(built.units)
        if any(outcome.status == status for outcome in unit.outcomes)
    )
    key = layout.receipt_key(built.plan.plan_id, unit)

    def edit(receipt: dict[str, Any]) -> None:
        change(next(o for o in receipt["outcomes"] if o["status"] == status))

    edit_json(damaged / key, edit)
    assert any(problem.startswith(key) for problem in problems_in(damaged))
