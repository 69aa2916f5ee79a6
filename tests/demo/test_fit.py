"""Training loop: its learning rate, and an interrupted run that is resumed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jobs.demo_models.fit import (
    CHECKPOINT_EVERY,
    DemoSettings,
    Draws,
    StageSettings,
    fit,
    learning_rate_factor,
)

PLAIN = StageSettings(steps=1000, batch_size=1, learning_rate=2.0, falling=0.4, warmup=10)


def test_learning_rate_rises_holds_and_falls_to_zero() -> None:
    assert learning_rate_factor(PLAIN, 4) == pytest.approx(0.5)
    assert learning_rate_factor(PLAIN, 300) == learning_rate_factor(PLAIN, 600) == 1.0
    assert learning_rate_factor(PLAIN, 800) == pytest.approx(0.5)
    assert learning_rate_factor(PLAIN, 1000) == pytest.approx(0.0)


def test_learning_rate_of_a_lengthened_run_follows_the_length_that_was_planned_then() -> None:
    diffusion = DemoSettings().diffusion
    assert [diffusion.planned_steps(step) for step in (0, 1999, 2000, 2999, 3000, 4399)] == [
        3200,
        3200,
        3800,
        3800,
        4400,
        4400,
    ]
    before, after = learning_rate_factor(diffusion, 2999), learning_rate_factor(diffusion, 3000)
    assert before == pytest.approx(0.54, abs=0.02)
    assert after == pytest.approx(0.90, abs=0.02)


class CutError(Exception):
    """Raised to interrupt a run."""


def _train_line(folder: Path, cut_at: int | None) -> tuple[dict[str, Tensor], list[int]]:
    """Fit a line to draws; return its weights and the steps of this run."""
    steps: list[int] = []

    def report(stage: str, step: int, of: int, loss: float) -> None:
        steps.append(step)
        if step == cut_at:
            raise CutError

    folder.mkdir(exist_ok=True)
    torch.manual_seed(1)
    model = nn.Linear(2, 1)
    schedule = StageSettings(
        steps=CHECKPOINT_EVERY + 20, batch_size=4, learning_rate=0.1, falling=0.5, ema_decay=0.9
    )
    fit("line", model, _loss_of(model), schedule, folder=folder, seed=3, report=report)
    return model.state_dict(), steps


def _loss_of(model: nn.Module) -> Callable[[Draws, int], Tensor]:
    def loss_of(draws: Draws, batch_size: int) -> Tensor:
        x = draws.normal(batch_size, 2)
        error = model(x) - x @ torch.tensor([[2.0], [-1.0]]) - draws.uniform(batch_size, 1)
        loss: Tensor = error.square().mean()
        return loss

    return loss_of


def test_fit_that_was_cut_resumes_to_the_weights_it_would_have_had(tmp_path: Path) -> None:
    expected, all_steps = _train_line(tmp_path / "undisturbed", None)
    with pytest.raises(CutError):
        _train_line(tmp_path / "cut", CHECKPOINT_EVERY + 5)
    resumed, rest = _train_line(tmp_path / "cut", None)
    assert all_steps == list(range(1, CHECKPOINT_EVERY + 21))
    assert rest == all_steps[CHECKPOINT_EVERY:]
    assert all(torch.equal(resumed[name], weights) for name, weights in expected.items())
    assert resumed["weight"].tolist() == [pytest.approx([2.0, -1.0], abs=0.2)]
    done, none = _train_line(tmp_path / "cut", None)
    assert none == [], "a finished stage is only loaded"
    assert torch.equal(done["weight"], expected["weight"])
