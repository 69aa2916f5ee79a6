"""The learning-rate curve of the training stages."""

import pytest

from pipeline.demo.training.fit import learning_rate
from pipeline.demo.training.recipe import Recipe, Schedule

PLAIN = Schedule(steps=1000, batch_size=1, learning_rate=2.0, falling=0.4, warmup=10)


def test_learning_rate_rises_holds_and_falls_to_zero() -> None:
    assert learning_rate(PLAIN, 4) == pytest.approx(1.0)
    assert learning_rate(PLAIN, 300) == learning_rate(PLAIN, 600) == 2.0
    assert learning_rate(PLAIN, 800) == pytest.approx(1.0)
    assert learning_rate(PLAIN, 1000) == pytest.approx(0.0)


def test_learning_rate_of_a_lengthened_run_follows_the_length_that_was_planned_then() -> None:
    diffusion = Recipe().diffusion
    assert [diffusion.planned_steps(step) for step in (0, 1999, 2000, 2999, 3000, 4399)] == [
        3200,
        3200,
        3800,
        3800,
        4400,
        4400,
    ]
    before, after = learning_rate(diffusion, 2999), learning_rate(diffusion, 3000)
    assert before / diffusion.learning_rate == pytest.approx(0.54, abs=0.02)
    assert after / diffusion.learning_rate == pytest.approx(0.90, abs=0.02)
