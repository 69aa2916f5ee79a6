"""A data set that version 2 wrote is read, verified, reported, selected from and exported.

``version_2.tar.xz`` was built by the last code of version 2: 6 prompts of the demo with two seeds
each in two units, no images, rejected pairs stored; sealed, and selected from once with a margin of
0.2.
"""

import tarfile
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.file import load_config
from pipeline.config.plan import Plan
from pipeline.core.errors import UserError
from pipeline.core.records import SCHEMA_VERSION
from pipeline.evaluate.report import make_report
from pipeline.evaluate.scores import read_scores
from pipeline.publish.compact import compact_in
from pipeline.publish.seal import draft
from pipeline.publish.select import select
from pipeline.publish.verify import verify
from pipeline.reader import NoisePairDataset
from pipeline.stages.build_spec import BuildSpec
from pipeline.storage.local import LocalStore
from pipeline.storage.manifest import Manifest
from pipeline.storage.plans import read_plan, read_prompt_table
from pipeline.storage.receipts import read_receipts
from pipeline.storage.success import read_manifest, read_success
from pipeline.storage.versions import read_version
from pipeline.workflows.repair import recompute_on_ray

ARCHIVE = Path(__file__).with_name("version_2.tar.xz")


@pytest.fixture
def older(tmp_path: Path) -> LocalStore:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "store", filter="data")
    return LocalStore(tmp_path / "store")


def _manifest(store: LocalStore) -> Manifest:
    success = read_success(store)
    assert success is not None and success.schema_version == 2 < SCHEMA_VERSION
    return read_manifest(store, success.manifests[0])


def _plan(store: LocalStore) -> Plan:
    return read_plan(store, _manifest(store).plan_id)


def _ledger(store: LocalStore, manifest: Manifest) -> pa.Table:
    return pq.read_table(pa.BufferReader(store.get(manifest.ledger.key)))


def test_older_version_every_kept_pair_is_read(older: LocalStore) -> None:
    manifest = _manifest(older)
    ledger = _ledger(older, manifest).to_pylist()
    kept = {row["sample_id"]: row for row in ledger if row["status"] == "kept"}
    pairs = list(NoisePairDataset(older.url, "train"))
    assert len(kept) == manifest.funnel.kept == 9
    assert {pair["sample_id"] for pair in pairs} == set(kept)
    for pair in pairs:
        assert pair["golden_noise"].shape == (4, 8, 8)
        row = kept[pair["sample_id"]]
        assert pair["prompt"] == row["prompt"]
        assert pair["golden_rewards"]["scene"] == row["golden_rewards"]["scene"]


def test_older_version_verifies_without_a_finding(older: LocalStore) -> None:
    found = verify(older)
    assert (found.problems, found.orphans, found.candidates) == ([], [], 12)


def test_older_version_receipts_say_nothing_of_proposals(older: LocalStore) -> None:
    plan = _plan(older)
    outcomes = [o for r in read_receipts(older, plan.plan_id, plan.num_units) for o in r.outcomes]
    assert len(outcomes) == 12
    assert {(o.proposal, o.forward_evaluations, o.losing_proposals) for o in outcomes} == {
        (None, 0, ())
    }


def test_older_version_is_sealed_again_as_it_was(older: LocalStore) -> None:
    """Rebuild as a repair does; compare ledgers by content, as pyarrow versions differ in bytes."""
    plan = _plan(older)
    first = read_version(older, plan.plan_id, 1)
    again = draft(
        older,
        plan,
        read_prompt_table(older, plan.plan_id),
        partial(map, partial(compact_in, older)),
        version=1,
        margins=plan.margins,
    )
    assert again.model_copy(update={"ledger": first.ledger}) == first
    assert _ledger(older, again).equals(_ledger(older, first))


def test_older_version_other_margins_make_a_version_that_verifies(older: LocalStore) -> None:
    compact = partial(map, partial(compact_in, older))
    made = select(older, {"scene": -1e6}, compact).manifest
    assert (made.version, made.funnel.kept, made.schema_version) == (3, 12, 2)
    assert verify(older).problems == []
    assert len(list(NoisePairDataset(older.url, "train"))) == 12


def test_older_version_is_reported(older: LocalStore) -> None:
    manifest = _manifest(older)
    text = make_report(manifest, read_scores(older, manifest))
    assert "Golden noise: 1 of 8 steps at guidance 3 down and 1 back (first order)" in text
    assert "## Proposals" not in text
    recipe = BuildSpec.of(manifest.plan)
    assert (recipe.rule.name, recipe.rule.weights) == ("all", {"scene": 1.0})
    assert recipe.evaluations() == 2 * 4 + 2 + 1


def test_older_version_units_are_not_computed_again_by_this_one(older: LocalStore) -> None:
    plan = _plan(older)
    recompute = recompute_on_ray(older, load_config("demo"))
    with pytest.raises(UserError, match="schema_version 2, this computes 3 or later; repair"):
        recompute(plan, read_prompt_table(older, plan.plan_id), [0])
