"""The decision over a candidate, and the gate against sampled Gaussians."""

from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from pipeline.config.sections import GateConfig
from pipeline.core.records import NoiseStats, Status
from pipeline.stages.select import Judged, ScoreRule, Selection, gate_reason

D = 1024
GATE = GateConfig(max_norm_deviation=3.0, max_kurtosis_deviation=3.0)
GAUSSIAN = NoiseStats(cosine=0.9, relative_change=0.3, mean=0.0, std=1.0, kurtosis=0.0)


def _stats(values: np.ndarray[Any, Any]) -> NoiseStats:
    return NoiseStats(
        cosine=1.0,
        relative_change=0.0,
        mean=values.mean(),
        std=values.std(),
        kurtosis=scipy_stats.kurtosis(values),
    )


def _selection(margins: dict[str, float] | None = None) -> Selection:
    margins = margins or {"r": 0.5}
    rule = ScoreRule(margins=margins, weights=dict.fromkeys(margins, 1.0))
    return Selection(rule=rule, gate=GATE, num_values=D)


def _judged(**judged: Any) -> Judged:
    facts: dict[str, Any] = {
        "noise_stats": GAUSSIAN,
        "converged": True,
        "images_finite": True,
        "source_rewards": {"r": 1.0, "seen": 9.0},
        "golden_rewards": {"r": 2.0, "seen": 0.0},
    }
    return Judged(**facts | judged)


def _decide(margins: dict[str, float] | None = None, **judged: Any) -> tuple[Status, str | None]:
    return _selection(margins).decide(_judged(**judged))


def test_margin_more_than_it_is_kept_whatever_a_recorded_reward_says() -> None:
    assert _decide() == (Status.KEPT, None)
    assert _decide(golden_rewards={"r": 2.0, "seen": None}) == (Status.KEPT, None)


@pytest.mark.parametrize(("margin", "golden"), [(0.0, 1.0), (0.5, 1.5), (-0.25, 0.75)])
def test_margin_a_tie_is_rejected(margin: float, golden: float) -> None:
    decision = _decide({"r": margin}, golden_rewards={"r": golden})
    assert decision == (Status.REJECTED, "reward:r")
    better = float(np.nextafter(golden, 9.0))
    assert _decide({"r": margin}, golden_rewards={"r": better}) == (Status.KEPT, None)


def test_margin_every_selecting_reward_must_improve_and_the_first_that_does_not_is_named() -> None:
    margins = {"a": 0.0, "b": 0.0}
    before = {"a": 0.0, "b": 0.0}
    for after, reason in [
        ({"a": 1.0, "b": 1.0}, None),
        ({"a": 1.0, "b": -1.0}, "reward:b"),
        ({"a": -1.0, "b": -1.0}, "reward:a"),
    ]:
        assert _decide(margins, source_rewards=before, golden_rewards=after)[1] == reason


def test_preference_is_kept_then_rejected_by_scores_then_unfit_then_failed() -> None:
    far = GAUSSIAN.model_copy(update={"std": 2.0})
    better = {"golden_rewards": {"r": 9.0}}
    in_order: list[dict[str, Any]] = [
        better,
        {},
        {"golden_rewards": {"r": 1.25}},
        {"golden_rewards": {"r": 0.0}},
        better | {"noise_stats": far},
        better | {"converged": False, "golden_rewards": {"r": 8.0}},
        better | {"images_finite": False},
    ]
    preferences = [_selection().preference(_judged(**facts)) for facts in in_order]
    assert preferences == sorted(preferences, reverse=True)
    assert len(set(preferences)) == len(preferences)


def test_preference_of_all_that_failed_is_one() -> None:
    nothing: list[dict[str, Any]] = [
        {"noise_stats": None},
        {"golden_rewards": {"r": None}},
        {"images_finite": False},
    ]
    assert len({_selection().preference(_judged(**facts)) for facts in nothing}) == 1


def test_reasons_come_in_the_order_of_the_docstring() -> None:
    worst: dict[str, Any] = {
        "noise_stats": None,
        "images_finite": False,
        "golden_rewards": {"r": None},
        "converged": False,
    }
    far = GAUSSIAN.model_copy(update={"std": 2.0, "kurtosis": 5.0})
    repairs: list[tuple[dict[str, Any], Status, str | None]] = [
        ({}, Status.FAILED, "noise:not_finite"),
        ({"noise_stats": far}, Status.FAILED, "image:not_finite"),
        ({"images_finite": True}, Status.FAILED, "reward:r:no_score"),
        ({"golden_rewards": {"r": 0.0}}, Status.REJECTED, "inversion:not_converged"),
        ({"converged": True}, Status.REJECTED, "gate:norm"),
        (
            {"noise_stats": GAUSSIAN.model_copy(update={"kurtosis": 5.0})},
            Status.REJECTED,
            "gate:kurtosis",
        ),
        ({"noise_stats": GAUSSIAN}, Status.REJECTED, "reward:r"),
        ({"golden_rewards": {"r": 2.0}}, Status.KEPT, None),
    ]
    for repaired, status, reason in repairs:
        worst |= repaired
        assert _decide(**worst) == (status, reason)


def test_source_without_score_fails_too() -> None:
    decision = _decide(source_rewards={"r": None})
    assert decision == (Status.FAILED, "reward:r:no_score")


@pytest.mark.parametrize("bound", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["norm", "kurtosis"])
def test_gate_bound_in_standard_errors_rejects_a_gaussians_tails(kind: str, bound: float) -> None:
    rng = np.random.default_rng(0)
    wide = {"max_norm_deviation": 99.0, "max_kurtosis_deviation": 99.0}
    gate = GateConfig(**wide | {f"max_{kind}_deviation": bound})
    draws = rng.standard_normal((2000, D))
    columns = zip(
        draws.mean(axis=1), draws.std(axis=1), scipy_stats.kurtosis(draws, axis=1), strict=True
    )
    reasons = [
        gate_reason(
            GAUSSIAN.model_copy(update={"mean": mean, "std": std, "kurtosis": kurtosis}), D, gate
        )
        for mean, std, kurtosis in columns
    ]
    assert set(reasons) == {None, f"gate:{kind}"}
    expected = 2 * scipy_stats.norm.sf(bound)
    rejected = 1 - reasons.count(None) / len(reasons)
    # The sample kurtosis is a little skewed at this D; hence the room.
    assert rejected == pytest.approx(expected, abs=0.03)


def test_gate_noise_of_another_distribution_is_rejected() -> None:
    rng = np.random.default_rng(0)
    for values, reason in [
        (1.2 * rng.standard_normal(D), "gate:norm"),
        (0.8 * rng.standard_normal(D), "gate:norm"),
        (rng.standard_normal(D) + 0.6, "gate:norm"),
        (rng.uniform(-(3**0.5), 3**0.5, D), "gate:kurtosis"),
        (rng.laplace(size=D), "gate:kurtosis"),
    ]:
        normed = values if reason == "gate:norm" else values / np.sqrt((values**2).mean())
        assert gate_reason(_stats(normed), D, GATE) == reason
