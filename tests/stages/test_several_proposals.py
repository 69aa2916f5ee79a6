"""A unit whose candidates have several golden noises: the best is stored, all scores are kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core.records import Outcome, Status
from pipeline.publish.reselection import decide_again
from pipeline.stages.proposers import BestOfN
from pipeline.stages.select import ScoreRule, Selection
from pipeline.stages.unit import produce_unit
from tests.sealed import SETTINGS, demo_models
from tests.stages.broken_models import BadPrediction, WrappedDenoiser
from tests.stages.demo_unit import KEEP_ALL, SCHEMA, Kept, make_unit, source_noises, stored_pairs

IMAGE, REDENOISE = 4, 3
"""Evaluations of an image and of a re-denoised noise, as ``KEEP_ALL`` configures them."""

SEVERAL: list[dict[str, Any]] = [
    {"kind": "redenoise", **SETTINGS["redenoise"]},
    {"kind": "best_of_n", "name": "random", "n": 2},
]
NAMES = ["redenoise", "random/0", "random/1"]


def with_proposers(settings: dict[str, Any], proposers: list[dict[str, Any]]) -> dict[str, Any]:
    """Settings in the long form."""
    others = {name: section for name, section in settings.items() if name != "redenoise"}
    return others | {"proposers": proposers}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    spec, candidates = make_unit(
        tmp_path_factory.mktemp("several"), with_proposers(KEEP_ALL, SEVERAL)
    )
    return Kept(spec, candidates, produce_unit(candidates, *demo_models(), spec))


def scores(outcome: Outcome) -> dict[str, float | None]:
    """Each proposal's score under the reward that selects."""
    losing = {loser.name: loser.golden_rewards["scene"] for loser in outcome.losing_proposals}
    return {str(outcome.proposal): outcome.golden_rewards["scene"], **losing}


def test_the_proposal_with_the_best_score_wins_and_the_others_keep_theirs(several: Kept) -> None:
    for outcome in several.produced.outcomes:
        found = scores(outcome)
        assert sorted(found) == sorted(NAMES)
        assert found[str(outcome.proposal)] == max(filter(None, found.values()))
        names = [loser.name for loser in outcome.losing_proposals]
        assert names == [name for name in NAMES if name != outcome.proposal]
        assert all(loser.noise_stats is not None for loser in outcome.losing_proposals)
    assert len({outcome.proposal for outcome in several.produced.outcomes}) > 1


def test_every_proposal_scores_as_it_does_alone(several: Kept, kept: Kept, tmp_path: Path) -> None:
    alone = {"redenoise": kept.produced}
    settings = with_proposers(KEEP_ALL, SEVERAL[1:])
    spec, candidates = make_unit(tmp_path, settings)
    random = produce_unit(candidates, *demo_models(), spec)
    for row, outcome in enumerate(several.produced.outcomes):
        assert outcome.source_rewards == kept.produced.outcomes[row].source_rewards
        expected = {
            "redenoise": alone["redenoise"].outcomes[row].golden_rewards["scene"],
            **scores(random.outcomes[row]),
        }
        assert scores(outcome) == expected


def test_stored_pair_is_the_winners(several: Kept, kept: Kept) -> None:
    won = stored_pairs(several.produced)
    redenoised = {pair.sample_id: pair for pair in stored_pairs(kept.produced)}
    by_sample = {outcome.sample_id: outcome for outcome in several.produced.outcomes}
    for pair in won:
        outcome, other = by_sample[pair.sample_id], redenoised[pair.sample_id]
        source, other_source = source_noises([pair, other])
        assert np.array_equal(source, other_source)
        assert pair.golden_rewards["scene"] == outcome.golden_rewards["scene"]
        is_redenoised = outcome.proposal == "redenoise"
        assert np.array_equal(pair.golden_noise, other.golden_noise) == is_redenoised
        assert (pair.golden_image == other.golden_image) == is_redenoised
        if not is_redenoised:
            random = several.spec.proposers["random"]
            assert isinstance(random, BestOfN) and outcome.proposal is not None
            seeds = random.seeds(several.candidates[outcome.candidate])
            generator = torch.Generator("cpu").manual_seed(seeds[int(outcome.proposal[-1])])
            drawn = torch.randn((4, 8, 8), generator=generator).half().numpy()
            assert np.array_equal(pair.golden_noise, drawn)


def test_source_image_is_paid_for_once(several: Kept) -> None:
    counting = WrappedDenoiser(demo_models()[0])
    again = produce_unit(several.candidates, counting, demo_models()[1], several.spec)
    assert again == several.produced
    each = IMAGE + (REDENOISE + IMAGE) + 2 * IMAGE
    assert several.spec.proposals == 3
    assert each == several.spec.evaluations() == several.spec.golden_evaluations() + IMAGE
    assert counting.rows_predicted == 6 * each == several.produced.forward_evaluations
    for outcome in several.produced.outcomes:
        assert outcome.forward_evaluations == each
        losing = {loser.name: loser.forward_evaluations for loser in outcome.losing_proposals}
        cost = {"redenoise": REDENOISE + IMAGE, "random/0": IMAGE, "random/1": IMAGE}
        assert losing == {name: cost[name] for name in losing}


def test_gaps_leave_the_others_their_bytes(several: Kept) -> None:
    produced = produce_unit(
        several.candidates, *demo_models(), several.spec, {1: "error:of_1", 4: "error:of_4"}
    )
    for row, outcome in enumerate(produced.outcomes):
        if row in (1, 4):
            assert (outcome.proposal, outcome.forward_evaluations) == (None, 0)
            assert outcome.losing_proposals == ()
        else:
            assert outcome == several.produced.outcomes[row]
    left = {
        candidate.sample_id for row, candidate in enumerate(several.candidates) if row not in (1, 4)
    }
    untouched = [pair for pair in stored_pairs(several.produced) if pair.sample_id in left]
    assert SCHEMA.to_batch(stored_pairs(produced)).equals(SCHEMA.to_batch(untouched))


def test_proposal_that_fails_loses_and_says_why(several: Kept) -> None:
    # Calls of the first batch: the source images 0 … 3, down 4, up 5, then the golden images.
    prompt = several.candidates[0].prompt
    bad = BadPrediction(demo_models()[0], prompt, float("nan"), from_call=5, to_call=6)
    produced = produce_unit(several.candidates, bad, demo_models()[1], several.spec)
    for row in (0, 1):
        outcome = produced.outcomes[row]
        assert outcome.status is Status.KEPT and outcome.proposal in ("random/0", "random/1")
        failed = outcome.losing_proposals[0]
        assert (failed.name, failed.status) == ("redenoise", Status.FAILED)
        assert (failed.reason, failed.noise_stats) == ("noise:not_finite", None)
    assert produced.outcomes[2:] == several.produced.outcomes[2:]


def test_other_margins_decide_over_the_winner_and_name_what_the_others_would_have_been(
    several: Kept,
) -> None:
    outcome = several.produced.outcomes[0]
    source = outcome.source_rewards["scene"]
    assert source is not None
    gains = sorted(score - source for score in scores(outcome).values() if score is not None)
    between = (gains[-1] + gains[-2]) / 2
    rule = ScoreRule(margins={"scene": between}, weights={"scene": 1.0})
    selection = Selection(rule=rule, gate=several.spec.gate, num_values=256)
    again = decide_again(outcome, selection)
    assert (again.status, again.proposal) == (Status.KEPT, outcome.proposal)
    assert {loser.status for loser in again.losing_proposals} == {Status.REJECTED}
    assert {loser.reason for loser in again.losing_proposals} == {"reward:scene"}
