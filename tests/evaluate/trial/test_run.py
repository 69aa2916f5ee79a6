"""Tests of complete trials: known results, resumption, and several processes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.evaluate.compare import Estimate
from pipeline.evaluate.trial.arm_specs import GOLDEN, STANDARD
from pipeline.evaluate.trial.results import ChunkResult
from pipeline.evaluate.trial.run import TrialRun, compute
from tests.evaluate.trial.conftest import Done
from tests.evaluate.trial.networks import SETTINGS, small_trial
from tests.sealed import demo_models


def read(run: TrialRun) -> list[ChunkResult]:
    return [ChunkResult.from_bytes(file.read_bytes()) for file in run.files]


def assert_same(run: TrialRun, other: TrialRun) -> None:
    """Assert that two runs have the same results, except for seconds."""
    for one, two in zip(read(run), read(other), strict=True):
        for name in ("scores", "distances", "evaluations", "images", "noises"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("reward", ["scene", "oracle"])
def test_a_network_that_does_nothing_gains_exactly_nothing(done: Done, reward: str) -> None:
    found = done.trial.comparison("unchanged", reward)
    assert found is not None and found.gain.num_pairs == 12
    assert found.gain.gain == Estimate(0.0, 0.0, 0.0) and found.gain.wins.value == 0.5
    assert found.sign_test == 1.0 and not found.excludes_zero


def test_a_network_that_is_golden_noise_closes_exactly_the_gap(done: Done) -> None:
    golden, perfect, unchanged = (
        done.trial.comparison(arm, "scene") for arm in (GOLDEN, "perfect", "unchanged")
    )
    assert golden is not None and perfect is not None and unchanged is not None
    assert golden.gain.gain.low > 0, "there is a gap to close"
    assert perfect.gain == golden.gain
    assert perfect.gap_closed == golden.gap_closed == Estimate(1.0, 1.0, 1.0)
    assert unchanged.gap_closed == Estimate(0.0, 0.0, 0.0)


def test_gains_are_the_mean_differences_of_the_kept_images_scored_again(done: Done) -> None:
    results, rewards = done.results, demo_models()[1]
    prompts = [sample.prompt for sample in results.samples]
    for reward, model in rewards.items():
        scores = {}
        for arm in (STANDARD, GOLDEN):
            pixels = [results.shown(sample)[arm].image for sample in range(len(prompts))]
            scores[arm] = model.score(prompts, torch.from_numpy(np.stack(pixels)))
        found = done.trial.comparison(GOLDEN, reward)
        assert found is not None
        expected = float((scores[GOLDEN] - scores[STANDARD]).mean())
        assert found.gain.gain.value == pytest.approx(expected, abs=1e-4)


def test_limits_hold_and_take_first_seeds(done: Done) -> None:
    results = done.results
    drawn = np.isfinite(results.column("guidance 5.5, 3 steps", "scene"))
    assert [
        sample.rank for sample, is_drawn in zip(results.samples, drawn, strict=True) if is_drawn
    ] == [0, 1, 2]
    on_top = done.trial.comparison("perfect at guidance 5.5, 3 steps", "oracle")
    assert on_top is not None and on_top.against == "guidance 5.5, 3 steps"
    assert on_top.gain.num_pairs == 3 and on_top.gap_closed is None


def test_diversity_of_the_same_noise_is_the_same(done: Done) -> None:
    ratios = {found.arm: found.ratio for found in done.trial.diversity}
    assert ratios["unchanged"] == Estimate(1.0, 1.0, 1.0)
    assert ratios[STANDARD] is None and "guidance 5.5, 3 steps" not in ratios


def test_judge_is_the_reward_that_selected_nothing(done: Done) -> None:
    assert (done.trial.judging, done.trial.selecting) == ("oracle", "scene")
    assert done.trial.independent and done.trial.subject == "perfect"


def test_networks_are_compared_with_every_alternative_but_controls(done: Done) -> None:
    against = {duel.against for duel in done.trial.duels if duel.arm == "unchanged"}
    assert {GOLDEN, "perfect", "second seed", "best of 2 seeds", "guidance 2, 1 steps"} <= against
    assert not any("wrong prompt" in name or "random" in name for name in against)
    assert all("wrong prompt" in name or "random" in name for name in done.trial.controls)
    assert len(done.trial.controls) == 4


def test_json_holds_everything_that_was_found_and_every_score(done: Done) -> None:
    written = json.loads((done.run.folder / "trial.json").read_text("utf-8"))
    assert written["findings"] == done.trial.model_dump(mode="json")
    scores = written["samples"]["scores"]["perfect"]["oracle"]
    assert scores == done.results.column("perfect", "oracle").tolist()
    assert written["samples"]["scores"]["guidance 5.5, 3 steps"]["oracle"].count(None) == 9
    assert len(written["trial"]["model"]["digest"]) == 64 and written["trial"]["fingerprint"]


def test_interrupted_trial_resumes_to_the_same_results(done: Done, tmp_path: Path) -> None:
    run = small_trial(tmp_path)
    assert [file.name for file in run.files] == [file.name for file in done.run.files]
    computing = compute(run, workers=1)
    assert next(computing) == 0
    computing.close()  # as a killed process leaves it
    assert [file.exists() for file in run.files] == [True, False, False]
    first = run.files[0].stat().st_mtime_ns
    again = small_trial(tmp_path)
    assert again.done == 1
    assert list(compute(again, workers=1)) == [1, 2]
    assert run.files[0].stat().st_mtime_ns == first
    assert_same(again, done.run)
    assert list(compute(again, workers=1)) == []


def test_other_settings_reuse_no_chunk(done: Done, tmp_path: Path) -> None:
    seeds = small_trial(tmp_path, settings=SETTINGS.model_copy(update={"seed": 12}))
    limits = small_trial(tmp_path, settings=SETTINGS.model_copy(update={"limit_guidance": 4}))
    names = [{file.name for file in run.files} for run in (done.run, seeds, limits)]
    assert len(set.union(*names)) == 9


def test_two_processes_have_the_results_of_one(done: Done, tmp_path: Path) -> None:
    run = small_trial(tmp_path)
    assert sorted(compute(run, workers=2)) == [0, 1, 2]
    assert_same(run, done.run)
    assert not list((run.folder / "chunks").glob("*.partial"))


def test_result_of_a_trial_with_other_settings_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    result = tmp_path / "trial" / "trial.json"
    result.write_text("{}")
    with pytest.raises(UserError, match="holds the result of a trial with other settings"):
        small_trial(tmp_path)
    assert result.read_text() == "{}"
