"""Candidates under suspicion are left out: the others keep their bytes."""

import pytest

from pipeline.core.records import Status
from pipeline.stages.unit import produce_unit
from tests.sealed import demo_models
from tests.stages.broken_models import WrappedDenoiser
from tests.stages.demo_unit import SCHEMA, Kept, stored_pairs


@pytest.mark.parametrize("skipped", [{0}, {1, 4}, {0, 1, 2, 3}, {4, 5}, {0, 1, 2, 3, 5}], ids=str)
def test_gaps_fail_with_their_reason_and_leave_the_others_their_bytes(
    kept: Kept, skipped: set[int]
) -> None:
    spec, candidates, full = kept
    reasons = {position: f"error:of_{position}" for position in skipped}
    denoiser, rewards = demo_models()
    watched = WrappedDenoiser(denoiser)
    produced = produce_unit(candidates, watched, rewards, spec, reasons)
    for position, outcome in enumerate(produced.outcomes):
        if position in skipped:
            assert (outcome.status, outcome.reason) == (Status.FAILED, reasons[position])
            assert outcome.sample_id == candidates[position].sample_id
            assert set(outcome.golden_rewards.values()) == {None}
        else:
            assert outcome == full.outcomes[position]
    ids = {outcome.sample_id for outcome in produced.outcomes if outcome.status is Status.KEPT}
    untouched = [pair for pair in stored_pairs(full) if pair.sample_id in ids]
    assert len(untouched) == len(candidates) - len(skipped)
    assert SCHEMA.to_batch(stored_pairs(produced)).equals(SCHEMA.to_batch(untouched))
    # Suspected prompts never reach the model, and the number of encoded prompts stays.
    live = {c.prompt for position, c in enumerate(candidates) if position not in skipped}
    assert set(watched.encoded) - {""} == live
    assert len(watched.encoded) == 3


def test_unit_of_gaps_alone_is_computed_all_the_same(kept: Kept) -> None:
    spec, candidates, _ = kept
    denoiser, rewards = demo_models()
    watched = WrappedDenoiser(denoiser)
    everything = dict.fromkeys(range(6), "error:untried")
    produced = produce_unit(candidates, watched, rewards, spec, everything)
    assert {outcome.reason for outcome in produced.outcomes} == {"error:untried"}
    assert stored_pairs(produced) == []
    assert watched.encoded == [""] * 3
    assert watched.rows_predicted > 0
