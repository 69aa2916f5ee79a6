"""More candidates of a sealed set are judged: nothing is proposed again, and readers follow."""

from functools import partial
from pathlib import Path

import pytest

from pipeline.core.errors import UserError, VerificationError
from pipeline.core.identity import is_sampled
from pipeline.core.records import Status
from pipeline.publish.compact import compact_in
from pipeline.publish.seal import seal
from pipeline.publish.verify import verify
from pipeline.reader import NoisePairDataset
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.judging_more import EarlierUnit
from pipeline.stages.unit import ProducedUnit, produce_unit
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.receipts import commit_unit, read_pairs, read_receipt
from pipeline.workflows.build import BuildContext
from pipeline.workflows.judge import open_judging
from tests.sealed import (
    SETTINGS,
    Built,
    build,
    changed,
    demo_models,
    demo_prompts,
    receipt_of,
    write_config,
)
from tests.stages.broken_models import WrappedDenoiser

SAMPLED = changed(
    judging={"policy": "sample", "share": 0.3},
    rewards=[{**SETTINGS["rewards"][0], "margin": -0.02}, SETTINGS["rewards"][1]],
    output={"images": "none"},
)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("sampled"), SAMPLED, prompts=demo_prompts(10))


@pytest.fixture
def store(sampled: Built, tmp_path: Path) -> ObjectStore:
    sampled.sealed_in(str(tmp_path / "store"))
    return open_store(str(tmp_path / "store"))


def _judged(context: BuildContext, skipped: dict[int, str] | None = None) -> list[ProducedUnit]:
    """Compute the units of a plan that judges more, as a worker does."""
    denoiser, rewards = demo_models()
    judged = context.plan.settings.judging.of
    assert judged is not None
    produced = []
    for unit in range(context.plan.num_units):
        candidates = list(context.prompts.candidates(context.plan, context.plan.unit_range(unit)))
        receipt = read_receipt(context.store, judged, unit)
        earlier = EarlierUnit(
            outcomes=receipt.outcomes, pairs=read_pairs(context.store, receipt, context.plan)
        )
        spec = BuildSpec.of(context.plan)
        produced.append(produce_unit(candidates, denoiser, rewards, spec, skipped, earlier=earlier))
    return produced


def _sealed(context: BuildContext) -> None:
    for unit, produced in enumerate(_judged(context)):
        commit_unit(context.store, receipt_of(context.plan, unit, produced), produced.data)
    seal(
        context.store,
        context.plan,
        context.prompts,
        partial(map, partial(compact_in, context.store)),
    )


def test_larger_sample_verifies_and_replaces_the_smaller_one_for_readers(
    sampled: Built, store: ObjectStore
) -> None:
    before = {s["sample_id"]: s for s in NoisePairDataset(store.url)}
    context = open_judging(store, sampled.config, 0.7)
    assert context.plan.plan_id != sampled.plan.plan_id
    _sealed(context)
    assert verify(store).problems == []
    after = {s["sample_id"]: s for s in NoisePairDataset(store.url)}
    assert {s["plan_id"] for s in after.values()} == {context.plan.plan_id}
    assert {name for name, s in after.items() if not s["judged"]} == {
        name for name, s in before.items() if not is_sampled(name, 0.7)
    }
    for name, sample in after.items():
        assert sample["golden_noise"].equal(before[name]["golden_noise"])
        if before[name]["judged"]:
            assert sample["golden_rewards"] == before[name]["golden_rewards"]
    # The old plan is read on request.
    old = NoisePairDataset(store.url, plans=[sampled.plan.plan_id])
    assert {s["sample_id"] for s in old} == before.keys()


def test_only_the_missing_images_are_sampled(sampled: Built, store: ObjectStore) -> None:
    context = open_judging(store, sampled.config, 0.7)
    receipt = read_receipt(store, sampled.plan.plan_id, 0)
    earlier = EarlierUnit(outcomes=receipt.outcomes, pairs=read_pairs(store, receipt, context.plan))
    denoiser, rewards = demo_models()
    watched = WrappedDenoiser(denoiser)
    candidates = list(context.prompts.candidates(context.plan, context.plan.unit_range(0)))
    produced = produce_unit(
        candidates, watched, rewards, BuildSpec.of(context.plan), earlier=earlier
    )
    new = [o for o in produced.outcomes if o.judged and not is_sampled(o.sample_id, 0.3)]
    assert new and all(is_sampled(o.sample_id, 0.7) for o in new)
    # Two images of four steps each.
    assert watched.rows_predicted == len(new) * 2 * 4
    for before, after in zip(receipt.outcomes, produced.outcomes, strict=True):
        if before.judged or not after.judged:
            assert after == before
        else:
            assert after.status in (Status.KEPT, Status.REJECTED)
            assert after.forward_evaluations == before.forward_evaluations + 2 * 4


def test_gaps_leave_the_others_their_bytes(sampled: Built, store: ObjectStore) -> None:
    context = open_judging(store, sampled.config, 0.7)
    whole = _judged(context)[0]
    gap = next(
        row
        for row, outcome in enumerate(whole.outcomes)
        if outcome.judged and not is_sampled(outcome.sample_id, 0.3)
    )
    produced = _judged(context, {gap: "error:x"})[0]
    assert (produced.outcomes[gap].status, produced.outcomes[gap].reason) == (
        Status.FAILED,
        "error:x",
    )
    assert [o for row, o in enumerate(produced.outcomes) if row != gap] == [
        o for row, o in enumerate(whole.outcomes) if row != gap
    ]


def test_earlier_unit_of_other_candidates_is_refused(sampled: Built, store: ObjectStore) -> None:
    context = open_judging(store, sampled.config, 0.7)
    receipt = read_receipt(store, sampled.plan.plan_id, 0)
    pairs = read_pairs(store, receipt, context.plan)
    earlier = EarlierUnit(outcomes=receipt.outcomes[::-1], pairs=pairs)
    candidates = list(context.prompts.candidates(context.plan, context.plan.unit_range(0)))
    with pytest.raises(VerificationError, match="other candidates"):
        produce_unit(candidates, *demo_models(), BuildSpec.of(context.plan), earlier=earlier)


@pytest.mark.parametrize(
    ("share", "seed", "message"),
    [(0.3, 7, "already judges 0.3"), (0.2, 7, "already judges"), (0.7, 8, "configuration is that")],
)
def test_wrong_requests_are_refused(
    sampled: Built, store: ObjectStore, tmp_path: Path, share: float, seed: int, message: str
) -> None:
    settings = {**SAMPLED, "prompts": {**SAMPLED["prompts"], "seed": seed}}
    config = write_config(tmp_path / "config", settings, prompts=demo_prompts(10))
    with pytest.raises(UserError, match=message):
        open_judging(store, config, share)


def test_set_that_judges_all_is_refused(tmp_path: Path) -> None:
    complete = build(tmp_path / "config", prompts=demo_prompts(2))
    complete.sealed_in(str(tmp_path / "all"))
    with pytest.raises(UserError, match="judges all candidates"):
        open_judging(open_store(str(tmp_path / "all")), complete.config, 0.5)


def test_more_of_a_plan_that_judges_more_is_refused(sampled: Built, store: ObjectStore) -> None:
    context = open_judging(store, sampled.config, 0.6)
    _sealed(context)
    with pytest.raises(UserError, match="judge more of that one"):
        open_judging(store, sampled.config, 0.9, plan_id=context.plan.plan_id)
    # The first plan can be judged further. The largest share is read then.
    further = open_judging(store, sampled.config, 0.9, plan_id=sampled.plan.plan_id)
    _sealed(further)
    assert {s["plan_id"] for s in NoisePairDataset(store.url)} == {further.plan.plan_id}
