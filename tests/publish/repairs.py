"""Helpers that run a repair and check the recomputed units and the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config.plan import Plan
from pipeline.publish.repair import Recompute, repair
from pipeline.publish.verify import verify
from pipeline.stages.unit import ProducedUnit
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.receipts import commit_unit
from tests.sealed import receipt_of


def no_model(plan: Plan, prompts: PromptTable, units: Sequence[int]) -> ObjectStore:
    raise AssertionError(f"units {units} were to be computed")


def recompute_from(
    store: ObjectStore, produced: Sequence[ProducedUnit], **run: Any
) -> tuple[Recompute, list[int]]:
    """Worker stand-in that commits prepared units and records which ones were requested."""
    asked: list[int] = []

    def recompute(plan: Plan, prompts: PromptTable, units: Sequence[int]) -> ObjectStore:
        asked.extend(units)
        scratch = open_store(f"{store.url}/{layout.repairs_prefix(plan.plan_id)}")
        for unit in units:
            receipt = receipt_of(plan, unit, produced[unit], attempt_id="again", **run)
            commit_unit(scratch, receipt, produced[unit].data)
        return scratch

    return recompute, asked


def objects_of(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("")}


def repaired(folder: Path, recompute: Recompute = no_model) -> list[str]:
    """Repair and return the keys; check that the store verifies and a second repair is a no-op."""
    store = open_store(str(folder))
    keys = list(repair(store, recompute))
    found = verify(store)
    assert (found.problems, found.orphans) == ([], [])
    assert list(repair(store, no_model)) == []
    return keys
