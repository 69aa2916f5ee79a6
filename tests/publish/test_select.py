"""Selection of a sealed plan, compared with scores counted here and with a build."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import UserError
from pipeline.core.records import Outcome, Split, Status
from pipeline.publish.compact import compact_in
from pipeline.publish.gc import find_unreferenced
from pipeline.publish.select import Selected, select
from pipeline.publish.verify import verify
from pipeline.reader import NoisePairDataset
from pipeline.storage import layout
from pipeline.storage.local import LocalStore
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.success import read_manifest, read_success
from pipeline.storage.versions import read_version
from tests.sealed import SETTINGS, Built, build, changed, demo_prompts, receipt_of


def _select(store: ObjectStore, margin: float, plan_id: str | None = None) -> Selected:
    return select(store, {"scene": margin}, partial(map, partial(compact_in, store)), plan_id)


def _gain(outcome: Outcome) -> float:
    source, golden = outcome.source_rewards["scene"], outcome.golden_rewards["scene"]
    assert source is not None and golden is not None
    return golden - source


def _outcomes(built: Built) -> list[Outcome]:
    return [outcome for unit in built.units for outcome in unit.outcomes]


def _better_by(built: Built, margin: float) -> list[str]:
    """Return samples that pass the gate and gain more than a margin, in the plan's order."""
    return [
        outcome.sample_id
        for outcome in _outcomes(built)
        if not (outcome.reason or "").startswith("gate") and _gain(outcome) > margin
    ]


def _samples(url: str) -> list[str]:
    """Return the samples that readers see, by id."""
    names = [sample["sample_id"] for split in Split for sample in NoisePairDataset(url, split)]
    return sorted(names)


def _middle(built: Built, status: Status) -> float:
    """Return a margin that divides the candidates of a status."""
    gains = sorted(_gain(outcome) for outcome in _outcomes(built) if outcome.status is status)
    assert len(gains) > 2
    return (gains[len(gains) // 2 - 1] + gains[len(gains) // 2]) / 2


def _settings(**sections: Any) -> Mapping[str, Any]:
    return changed(units={"size": 9, "batch_size": 3}, **sections)


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    """Local store, for tests that do not depend on the kind of store; S3 would be slow."""
    return LocalStore(tmp_path / "store")


@pytest.fixture(scope="module")
def hoarding(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return a plan that stores rejected pairs too."""
    settings = _settings(output={"store_rejected": True})
    return build(tmp_path_factory.mktemp("hoarding"), settings, prompts=demo_prompts(9))


def test_raised_margin_keeps_those_that_gain_more(store: ObjectStore, built: Built) -> None:
    first = built.sealed_in(store.url)
    margin = _middle(built, Status.KEPT)
    made = _select(store, margin)
    wanted = _better_by(built, margin)
    assert 0 < len(wanted) < first.funnel.kept
    assert _samples(store.url) == sorted(wanted)
    assert made.is_new and made.manifest.version == 2
    assert made.manifest.selection == {"scene": margin}
    assert made.manifest.funnel.kept == len(wanted)
    assert all("/v2" in file.key for file in made.manifest.files())

    found = verify(store)
    assert (found.problems, found.orphans) == ([], [])
    assert list(find_unreferenced(store)) == [], "the files of v1 are still named by v1"
    assert read_version(store, built.plan.plan_id, 1) == first


def test_same_selection_again_does_nothing(store: ObjectStore, built: Built) -> None:
    built.sealed_in(store.url)
    margin = _middle(built, Status.KEPT)
    made = _select(store, margin)
    before = {info.key: (info.modified, store.get(info.key)) for info in store.list("")}
    again = _select(store, margin)
    assert again == Selected(manifest=made.manifest, is_new=False)
    assert {info.key: (info.modified, store.get(info.key)) for info in store.list("")} == before


def test_selection_of_the_plan_makes_the_first_version_current_again(
    folder: LocalStore, built: Built
) -> None:
    first = built.sealed_in(folder.url)
    success = folder.get(layout.SUCCESS_KEY)
    _select(folder, _middle(built, Status.KEPT))
    assert folder.get(layout.SUCCESS_KEY) != success
    assert _select(folder, 0.0) == Selected(manifest=first, is_new=False)
    assert folder.get(layout.SUCCESS_KEY) == success


def test_build_that_ends_late_does_not_undo_a_selection(folder: LocalStore, built: Built) -> None:
    built.sealed_in(folder.url)
    made = _select(folder, _middle(built, Status.KEPT))
    built.seal(folder)
    success = read_success(folder)
    assert success is not None
    assert read_manifest(folder, success.manifests[0]) == made.manifest


def test_lowered_margin_gives_the_pairs_of_a_build_with_that_margin(
    folder: LocalStore, hoarding: Built, tmp_path_factory: pytest.TempPathFactory
) -> None:
    margin = _middle(hoarding, Status.REJECTED)
    assert margin < 0
    rewards = [{**SETTINGS["rewards"][0], "margin": margin}, SETTINGS["rewards"][1]]
    reference = build(
        tmp_path_factory.mktemp("reference"), _settings(rewards=rewards), prompts=demo_prompts(9)
    )
    expected = reference.sealed_in(str(tmp_path_factory.mktemp("reference-sealed")))

    first = hoarding.sealed_in(folder.url)
    made = _select(folder, margin)
    assert made.manifest.funnel == expected.funnel
    assert made.manifest.funnel.kept > first.funnel.kept
    digests = [
        [[shard.sha256 for shard in shards] for shards in formats.values()]
        for manifest in (made.manifest, expected)
        for formats in manifest.shards.values()
    ]
    assert digests[: len(Split)] == digests[len(Split) :], "shards are the same bytes"
    found = verify(folder)
    assert (found.problems, found.pairs) == ([], 2 * expected.funnel.kept)


def test_rejected_pairs_that_are_stored_are_in_no_shard_of_the_build(
    folder: LocalStore, hoarding: Built
) -> None:
    manifest = hoarding.sealed_in(folder.url)
    stored = [outcome for outcome in _outcomes(hoarding) if outcome.num_bytes]
    kept = [outcome.sample_id for outcome in stored if outcome.status is Status.KEPT]
    assert len(stored) == len(_outcomes(hoarding)) > len(kept) == manifest.funnel.kept
    assert _samples(folder.url) == sorted(kept) == sorted(_better_by(hoarding, 0.0))
    assert verify(folder).problems == []


def test_lowered_margin_without_stored_pairs_is_refused_with_their_number(
    folder: LocalStore, built: Built
) -> None:
    built.sealed_in(folder.url)
    before = {info.key: folder.get(info.key) for info in folder.list("")}
    margin = _middle(built, Status.REJECTED)
    missing = len(_better_by(built, margin)) - len(_better_by(built, 0.0))
    with pytest.raises(UserError, match=f"^{missing} candidates .*store_rejected = true"):
        _select(folder, margin)
    assert {info.key: folder.get(info.key) for info in folder.list("")} == before


def test_margin_lowered_past_nobody_needs_no_stored_pairs(folder: LocalStore, built: Built) -> None:
    first = built.sealed_in(folder.url)
    nearest = max(_gain(outcome) for outcome in _outcomes(built) if outcome.status != "kept")
    assert nearest < 0
    made = _select(folder, nearest / 2)
    assert made.manifest.version == 2
    assert made.manifest.funnel == first.funnel


def test_what_failed_or_did_not_converge_stays_so(folder: LocalStore, hoarding: Built) -> None:
    changes: list[dict[str, Any]] = [
        {"status": Status.FAILED, "reason": "image:not_finite"},
        {"status": Status.REJECTED, "reason": "inversion:not_converged"},
    ]
    unit = hoarding.units[0]
    outcomes = [*unit.outcomes]
    for row, change in enumerate(changes):
        outcomes[row] = outcomes[row].model_copy(update=change)
    receipts = [
        receipt_of(hoarding.plan, number, each) for number, each in enumerate(hoarding.units)
    ]
    hoarding.commit(folder)
    altered = receipts[0].model_copy(update={"outcomes": tuple(outcomes)})
    folder.put(layout.receipt_key(hoarding.plan.plan_id, 0), altered.model_dump_json().encode())
    hoarding.seal(folder)
    made = _select(folder, -1e9).manifest
    assert made.funnel.kept == len(_outcomes(hoarding)) - 2
    assert made.funnel.failed == {"image:not_finite": 1}
    assert made.funnel.rejected == {"inversion:not_converged": 1}
    assert verify(folder).problems == []


@pytest.fixture
def two_plans(folder: LocalStore, built: Built, hoarding: Built) -> tuple[Manifest, Manifest]:
    return built.sealed_in(folder.url), hoarding.sealed_in(folder.url)


def test_one_of_several_plans_is_chosen_by_name(
    folder: LocalStore, two_plans: tuple[Manifest, Manifest]
) -> None:
    first, second = two_plans
    with pytest.raises(UserError, match="several plans; name one with --plan: "):
        _select(folder, 0.5)
    with pytest.raises(UserError, match="no plan 'p' is sealed here; there are "):
        _select(folder, 0.5, "p")
    made = _select(folder, 1e9, second.plan_id).manifest
    assert (made.plan_id, made.funnel.kept) == (second.plan_id, 0)
    success = read_success(folder)
    assert success is not None
    assert [read_manifest(folder, sealed) for sealed in success.manifests] == sorted(
        [first, made], key=lambda manifest: manifest.plan_id
    )
    assert verify(folder).problems == []


@pytest.mark.parametrize("name", ["oracle", "beauty"])
def test_reward_that_does_not_select_is_refused(
    folder: LocalStore, built: Built, name: str
) -> None:
    built.sealed_in(folder.url)
    with pytest.raises(UserError, match=f"no reward '{name}' selects .* there are scene"):
        select(folder, {name: 0.1}, partial(map, partial(compact_in, folder)))


def test_store_without_a_sealed_plan_is_said(folder: LocalStore, built: Built) -> None:
    built.commit(folder)
    with pytest.raises(UserError, match="nothing is sealed here"):
        _select(folder, 0.1)
