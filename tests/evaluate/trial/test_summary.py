"""Tests of the one-page summary."""

from dataclasses import replace

import pytest

from pipeline.evaluate.compare import Estimate
from pipeline.evaluate.document import to_markdown
from pipeline.evaluate.trial.arm_specs import GOLDEN, STANDARD_FOR_WRONG_PROMPT
from pipeline.evaluate.trial.findings import Trial
from pipeline.evaluate.trial.summary import summary
from tests.evaluate.trial.conftest import Done

MISLED = "wrong prompt: perfect"


def with_gain(trial: Trial, arm: str, gain: Estimate) -> Trial:
    """Return the trial with another gain of one arm under every reward."""
    comparisons = [
        found.model_copy(update={"gain": replace(found.gain, gain=gain)})
        if found.arm == arm
        else found
        for found in trial.comparisons
    ]
    assert comparisons != trial.comparisons
    return trial.model_copy(update={"comparisons": comparisons})


@pytest.mark.parametrize(
    ("arm", "gain", "meaning"),
    [
        (MISLED, Estimate(-0.005, -0.02, 0.01), "as expected of a control"),
        (MISLED, Estimate(0.02, 0.01, 0.03), "does not depend on the prompt"),
        (MISLED, Estimate(-0.03, -0.05, -0.01), "worse than standard noise"),
        (f"{MISLED}, judged by it", Estimate(0.01, -0.02, 0.03), "indistinguishable from zero"),
        (
            f"{MISLED}, judged by it",
            Estimate(0.03, 0.02, 0.05),
            "carries the content of the prompt",
        ),
        (f"{MISLED}, judged by it", Estimate(-0.03, -0.05, -0.01), "worse than standard noise"),
    ],
)
def test_control_is_described_by_the_sign_of_its_gain(
    done: Done, arm: str, gain: Estimate, meaning: str
) -> None:
    text = to_markdown(summary(with_gain(done.trial, arm, gain), None))
    (line,) = [line for line in text.splitlines() if line.startswith(f"{arm} (")]
    assert f"{gain.value:+.3f}".replace("-", "−") in line and meaning in line


def test_controls_stand_under_their_own_heading_alone(done: Done) -> None:
    text = to_markdown(summary(done.trial, None))
    controls, rest = text.split("## Controls")[1].split("## Cost")
    names = [name for name in done.trial.controls if f"{name} (" in controls]
    assert names == [name for name in done.trial.controls if name != STANDARD_FOR_WRONG_PROMPT]
    assert not any(name in rest for name in done.trial.controls)


def test_summary_leads_with_the_best_method_of_the_same_cost(done: Done) -> None:
    trial = done.trial
    first = to_markdown(summary(trial, None)).split("\n\n")[1]
    budget = trial.cost(trial.subject).forward_evaluations
    affordable = {
        found.arm: found.gain.gain.value
        for found in trial.methods()
        if found.arm not in (GOLDEN, "perfect", "unchanged")
        and trial.cost(found.arm).forward_evaluations <= budget
    }
    best = max(affordable, key=affordable.__getitem__)
    assert f"At equal cost, the best alternative is {best} (" in first


def test_methods_and_alternatives_are_sorted_by_cost_without_controls(done: Done) -> None:
    trial = done.trial
    methods = [found.arm for found in trial.methods()]
    alternatives = [duel.against for duel in trial.alternatives("unchanged")]
    for names in (methods, alternatives):
        costs = [trial.cost(name).forward_evaluations for name in names]
        assert len(costs) > 5 and costs == sorted(costs)
        assert not set(names) & set(trial.controls)
