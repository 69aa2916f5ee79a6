"""Repair restores the original bytes of damaged objects and changes nothing else."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.records import Split
from pipeline.publish.compact import compact_in
from pipeline.publish.select import select
from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.storage.success import success_bytes
from tests.publish.damage import (
    DAMAGES,
    Damage,
    drop_pieces,
    edit_json,
    flip,
    replace_bytes,
    truncate,
)
from tests.publish.repairs import objects_of, repaired
from tests.sealed import Built, manifest_of


def test_repair_of_what_is_whole_changes_nothing(damaged: Path) -> None:
    before = objects_of(open_store(str(damaged)))
    assert repaired(damaged) == []
    assert objects_of(open_store(str(damaged))) == before


@DAMAGES
@pytest.mark.parametrize("shard_format", ["arrow", "webdataset"])
def test_shard(damaged: Path, shard_format: Any, damage: Damage) -> None:
    before = objects_of(open_store(str(damaged)))
    key = manifest_of(damaged).shards[Split.TRAIN][shard_format][1].key
    times = {path: path.stat().st_mtime_ns for path in damaged.rglob("*.*") if path.is_file()}
    damage(damaged / key)
    assert repaired(damaged) == [key]
    assert objects_of(open_store(str(damaged))) == before
    written = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert written == {damaged / key}


def test_shard_sealed_without_pieces(damaged: Path) -> None:
    drop_pieces(damaged)
    before = objects_of(open_store(str(damaged)))
    key = manifest_of(damaged).shards[Split.TRAIN]["arrow"][1].key
    flip(damaged / key)
    assert repaired(damaged) == [key]
    assert objects_of(open_store(str(damaged))) == before


@DAMAGES
@pytest.mark.parametrize("kind", ["ledger", "manifest", "plan", "prompts"])
def test_what_follows_from_receipts_or_manifest(
    damaged: Path, built: Built, kind: str, damage: Damage
) -> None:
    before = objects_of(open_store(str(damaged)))
    plan_id = built.plan.plan_id
    key = {
        "ledger": manifest_of(damaged).ledger.key,
        "manifest": layout.manifest_key(plan_id, 1),
        "plan": layout.plan_key(plan_id),
        "prompts": layout.prompts_key(plan_id),
    }[kind]
    damage(damaged / key)
    # The last byte of a plan is a newline, which has no meaning.
    is_readable = kind == "plan" and damage is truncate
    assert repaired(damaged) == ([] if is_readable else [key])
    after = objects_of(open_store(str(damaged)))
    # Keys in a manifest are sorted, so those of a plan that comes from one are too.
    plans = [json.loads(objects.pop(layout.plan_key(plan_id))) for objects in (before, after)]
    assert plans[0] == plans[1]
    assert after == before


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        truncate,
        lambda path: path.write_bytes(b"{}"),
        lambda path: replace_bytes(path, b"v1.json", b"v7.txt"),
        lambda path: path.write_bytes(success_bytes([])),
        lambda path: edit_json(path, lambda s: s["manifests"][0].update(sha256="0" * 64)),
    ],
    ids=["deleted", "newline", "empty", "key", "nothing", "digest"],
)
def test_success(damaged: Path, damage: Damage) -> None:
    before = objects_of(open_store(str(damaged)))
    path = damaged / layout.SUCCESS_KEY
    damage(path)
    is_readable = damage is truncate
    assert repaired(damaged) == ([] if is_readable else [layout.SUCCESS_KEY])
    if not is_readable:
        assert objects_of(open_store(str(damaged))) == before


def test_manifest_and_shards_of_a_selection_are_made_again(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    made = select(store, {"scene": 0.1}, partial(map, partial(compact_in, store))).manifest
    before = objects_of(store)
    (damaged / layout.manifest_key(built.plan.plan_id, 2)).unlink()
    for file in made.files():
        flip(damaged / file.key)
    assert repaired(damaged) == [layout.manifest_key(built.plan.plan_id, 2)]
    assert objects_of(store) == before
