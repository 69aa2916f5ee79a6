"""A value that is not finite fails its candidate alone, and the others keep their bytes."""

from dataclasses import replace

import pytest

from pipeline.core.records import Outcome, Status
from pipeline.stages.unit import ProducedUnit, produce_unit
from tests.sealed import demo_models
from tests.stages.broken_models import BadDecoder, BadPrediction, BadReward
from tests.stages.demo_unit import SCHEMA, Kept, stored_pairs


def _assert_only_one_prompt_failed(
    produced: ProducedUnit, full: ProducedUnit, prompt_id: str, reason: str
) -> list[Outcome]:
    failed = [o for o in produced.outcomes if o.prompt_id == prompt_id]
    assert [(o.status, o.reason, o.num_bytes) for o in failed] == [(Status.FAILED, reason, 0)] * 2
    others = [o for o in produced.outcomes if o.prompt_id != prompt_id]
    assert others == [o for o in full.outcomes if o.prompt_id != prompt_id]
    untouched = [p for p in stored_pairs(full) if p.prompt_id != prompt_id]
    assert SCHEMA.to_batch(stored_pairs(produced)).equals(SCHEMA.to_batch(untouched))
    return failed


@pytest.mark.parametrize("value", [float("nan"), 1e6], ids=["nan", "beyond float16"])
def test_prediction_not_finite_fails_that_candidate_alone(kept: Kept, value: float) -> None:
    spec, candidates, full = kept
    denoiser, rewards = demo_models()
    bad = BadPrediction(denoiser, candidates[2].prompt, value)
    produced = produce_unit(candidates, bad, rewards, spec)
    failed = _assert_only_one_prompt_failed(
        produced, full, candidates[2].prompt_id, "noise:not_finite"
    )
    assert all(outcome.noise_stats is None for outcome in failed)


def test_image_latents_not_finite_fail_that_candidate_alone(kept: Kept) -> None:
    spec, candidates, full = kept
    denoiser, rewards = demo_models()
    # The source images are four calls and the proposal two; the golden images are spoilt. One
    # batch, so that all are.
    spec = replace(spec, batch_size=6)
    full = produce_unit(candidates, denoiser, rewards, spec)
    bad = BadPrediction(denoiser, candidates[2].prompt, float("nan"), from_call=6)
    produced = produce_unit(candidates, bad, rewards, spec)
    failed = _assert_only_one_prompt_failed(
        produced, full, candidates[2].prompt_id, "image:not_finite"
    )
    for outcome in failed:
        assert outcome.golden_rewards == {"scene": None, "oracle": None}
        assert None not in outcome.source_rewards.values()
        assert outcome.noise_stats is not None


def test_decoder_not_finite_fails_the_row(kept: Kept) -> None:
    spec, candidates, _ = kept
    denoiser, rewards = demo_models()
    produced = produce_unit(candidates, BadDecoder(denoiser, row=1), rewards, spec)
    reasons = [outcome.reason for outcome in produced.outcomes]
    # Batches of 4 and 2.
    assert reasons == [None, "image:not_finite", None, None, None, "image:not_finite"]


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_reward_not_finite_fails_that_candidate_alone(kept: Kept, value: float) -> None:
    spec, candidates, full = kept
    denoiser, rewards = demo_models()
    prompt = candidates[4].prompt
    bad = {**rewards, "scene": BadReward(rewards["scene"], prompt, value)}
    produced = produce_unit(candidates, denoiser, bad, spec)
    failed = _assert_only_one_prompt_failed(
        produced, full, candidates[4].prompt_id, "reward:scene:no_score"
    )
    assert all(outcome.source_rewards["scene"] is None for outcome in failed)
    assert all(outcome.source_rewards["oracle"] is not None for outcome in failed)


def test_reward_not_finite_that_only_records_fails_nobody(kept: Kept) -> None:
    spec, candidates, _ = kept
    denoiser, rewards = demo_models()
    prompt = candidates[4].prompt
    bad = {**rewards, "oracle": BadReward(rewards["oracle"], prompt, float("nan"))}
    produced = produce_unit(candidates, denoiser, bad, spec)
    assert {outcome.status for outcome in produced.outcomes} == {Status.KEPT}
    assert stored_pairs(produced)[4].golden_rewards["oracle"] is None
