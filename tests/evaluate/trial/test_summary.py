"""What the one-page summary says of the controls."""

from dataclasses import replace

import pytest

from pipeline.evaluate.compare import Estimate
from pipeline.evaluate.document import to_markdown
from pipeline.evaluate.trial.arm_specs import STANDARD_FOR_WRONG_PROMPT
from pipeline.evaluate.trial.findings import Trial
from pipeline.evaluate.trial.summary import summary
from tests.evaluate.trial.conftest import Done

MISLED = "wrong prompt: perfect"


def with_gain(trial: Trial, arm: str, gain: Estimate) -> Trial:
    """The trial, had an arm gained that under every reward."""
    comparisons = [
        found.model_copy(update={"gain": replace(found.gain, gain=gain)})
        if found.arm == arm
        else found
        for found in trial.comparisons
    ]
    assert comparisons != trial.comparisons
    return trial.model_copy(update={"comparisons": comparisons})


@pytest.mark.parametrize(
    ("arm", "gain", "said"),
    [
        (MISLED, Estimate(-0.005, -0.02, 0.01), "as a control should be"),
        (MISLED, Estimate(0.02, 0.01, 0.03), "so much of the gain is not the prompt's own"),
        (MISLED, Estimate(-0.03, -0.05, -0.01), "it gains nothing, and harms"),
        (f"{MISLED}, judged by it", Estimate(0.01, -0.02, 0.03), "not told from zero"),
        (f"{MISLED}, judged by it", Estimate(0.03, 0.02, 0.05), "what its own prompt says"),
        (f"{MISLED}, judged by it", Estimate(-0.03, -0.05, -0.01), "less than by chance"),
    ],
)
def test_control_is_called_what_it_is(done: Done, arm: str, gain: Estimate, said: str) -> None:
    text = to_markdown(summary(with_gain(done.trial, arm, gain), None))
    (line,) = [line for line in text.splitlines() if line.startswith(f"{arm} (")]
    assert f"{gain.value:+.3f}".replace("-", "−") in line and said in line


def test_controls_stand_under_their_own_heading_alone(done: Done) -> None:
    text = to_markdown(summary(done.trial, None))
    controls, rest = text.split("What the controls say")[1].split("What it costs")
    names = [name for name in done.trial.controls if f"{name} (" in controls]
    assert names == [name for name in done.trial.controls if name != STANDARD_FOR_WRONG_PROMPT]
    assert not any(name in rest for name in done.trial.controls)
