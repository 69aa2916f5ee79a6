"""Incomplete manifests and ``_SUCCESS`` files are rejected by readers, reported and repaired."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import VerificationError
from pipeline.publish.export import specify_export
from pipeline.reader import NoisePairDataset, NoisePairTable
from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.storage.success import name_in_success, sealed_as
from tests.publish.damage import edit_json, reseal_json
from tests.publish.problems import only_problem_in
from tests.publish.repairs import objects_of, repaired
from tests.sealed import Built, manifest_of


def _refused(folder: Path, message: str) -> None:
    """Check that every reader rejects a data set with this message."""
    for read in (NoisePairDataset, NoisePairTable):
        with pytest.raises(VerificationError, match=message):
            read(str(folder))
    with pytest.raises(VerificationError, match=message):
        specify_export(open_store(str(folder)), "parquet")


def _repeat_shard(manifest: dict[str, Any]) -> None:
    for shards in manifest["shards"]["train"].values():
        shards.append(shards[0])


def _move_shard(manifest: dict[str, Any]) -> None:
    """List a training shard in the test split."""
    for name, shards in manifest["shards"]["test"].items():
        shards.append(manifest["shards"]["train"][name].pop())


def _count_otherwise(manifest: dict[str, Any]) -> None:
    manifest["shards"]["train"]["webdataset"][0]["num_samples"] += 1


def _count_more(manifest: dict[str, Any]) -> None:
    for shards in manifest["shards"]["train"].values():
        shards[0]["num_samples"] += 1


def _empty_split(manifest: dict[str, Any]) -> None:
    for shards in manifest["shards"]["train"].values():
        shards.clear()


def _reorder(manifest: dict[str, Any]) -> None:
    for shards in manifest["shards"]["train"].values():
        shards.reverse()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m["shards"].pop("train"), "has no split train"),
        (_empty_split, "its shards hold"),
        (lambda m: m["shards"]["train"].pop("webdataset"), "train has the formats arrow"),
        (lambda m: m["shards"]["test"].clear(), "test has no formats"),
        (_repeat_shard, "the key of shard"),
        (_move_shard, "the key of shard"),
        (_reorder, "the key of shard"),
        (_count_otherwise, "shards of the formats arrow, webdataset hold"),
        (_count_more, "its shards hold"),
        (lambda m: m["shards"]["train"]["arrow"][0].update(key="../x"), "the key of shard 0"),
        (lambda m: m["shards"]["train"]["arrow"][0].update(num_bytes=0), "0 bytes"),
        (
            lambda m: m["shards"]["train"]["arrow"][0]["pieces"].update(num_bytes=0),
            "digests of its pieces",
        ),
        (
            lambda m: m["shards"]["train"]["arrow"][0]["pieces"].update(xxh3_64=""),
            "digests of its pieces",
        ),
        (lambda m: m["funnel"].update(kept=1), "its funnel"),
        (lambda m: m["ledger"].update(num_rows=1), "its ledger has 1 rows"),
        (lambda m: m["ledger"].update(key="ledgers/x"), "the key of its ledger"),
        (lambda m: m.update(latent_shape=[]), "the latent shape"),
        (lambda m: m.update(selection={}), "its selection"),
        (lambda m: m["plan"].update(plan_id="0" * 16), "its plan is 0000"),
    ],
)
def test_manifest_that_contradicts_itself(
    damaged: Path, built: Built, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    store = open_store(str(damaged))
    before = objects_of(store)
    reseal_json(damaged, edit)
    key = layout.manifest_key(built.plan.plan_id, 1)
    problem = only_problem_in(damaged)
    assert problem.startswith(f"{key}: ") and message in problem
    _refused(damaged, f"{key}: .*{message}")
    assert repaired(damaged) == [key, layout.SUCCESS_KEY]
    assert objects_of(store) == before


def test_manifest_whose_plan_lacks_a_section_is_rejected_with_its_name(
    damaged: Path, built: Built
) -> None:
    reseal_json(damaged, lambda manifest: manifest["plan"]["settings"].pop("output"))
    key = layout.manifest_key(built.plan.plan_id, 1)
    assert only_problem_in(damaged).startswith(f"{key}: ")
    _refused(damaged, rf"{key}: no manifest: plan\.settings\.output: required")


def _repeat(success: dict[str, Any]) -> None:
    success["manifests"] *= 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_repeat, "names plan .* twice"),
        (lambda success: success["manifests"].clear(), "names no manifest"),
    ],
)
def test_success_that_is_not_complete(
    damaged: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    store = open_store(str(damaged))
    before = objects_of(store)
    sealed = sealed_as(manifest_of(damaged))
    edit_json(damaged / layout.SUCCESS_KEY, edit)
    assert only_problem_in(damaged).startswith(f"{layout.SUCCESS_KEY}: ")
    _refused(damaged, message)
    with pytest.raises(VerificationError, match=message):
        name_in_success(store, sealed)
    assert repaired(damaged) == [layout.SUCCESS_KEY]
    assert objects_of(store) == before


def test_success_nested_deeply_is_refused(damaged: Path) -> None:
    (damaged / layout.SUCCESS_KEY).write_bytes(b"[" * 100_000)
    assert only_problem_in(damaged).startswith(f"{layout.SUCCESS_KEY}: ")
    _refused(damaged, layout.SUCCESS_KEY)


def test_selection_in_success_that_is_not_that_of_the_manifest(damaged: Path, built: Built) -> None:
    before = objects_of(open_store(str(damaged)))
    edit_json(
        damaged / layout.SUCCESS_KEY,
        lambda success: success["manifests"][0]["selection"].update(scene=0.5),
    )
    message = "its selection is not that in _SUCCESS"
    assert message in only_problem_in(damaged)
    _refused(damaged, message)
    assert repaired(damaged) == [layout.SUCCESS_KEY]
    assert objects_of(open_store(str(damaged))) == before
