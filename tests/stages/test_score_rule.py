"""Decisions of several rewards, as a table, and the merit that orders several images."""

import pytest

from pipeline.core.records import RuleName
from pipeline.stages.select import ScoreRule

SOURCE = {"a": 1.0, "b": 10.0, "c": -1.0, "seen": 0.0}
MARGINS = {"a": 0.5, "b": 0.0, "c": 0.0}
WEIGHTS = {"a": 1.0, "b": 0.1, "c": 2.0}


def rule(name: RuleName, *rewards: str, weights: dict[str, float] | None = None) -> ScoreRule:
    chosen = rewards or tuple(MARGINS)
    return ScoreRule(
        name=name,
        margins={reward: MARGINS[reward] for reward in chosen},
        weights=weights or WEIGHTS,
    )


def golden(**gains: float) -> dict[str, float | None]:
    return {name: score + gains.get(name, 0.0) for name, score in SOURCE.items()}


@pytest.mark.parametrize(
    ("gains", "everyone", "weighted", "majority"),
    [
        # gains of a, b, c       all         Σ w·g > 0.5  two of three
        ((1.0, 1.0, 1.0), None, None, None),
        ((1.0, -1.0, 1.0), "reward:b", None, None),
        ((0.5, 1.0, 1.0), "reward:a", None, None),
        ((0.5, 0.0, 1.0), "reward:a", None, "selection:majority"),
        ((1.0, 1.0, -1.0), "reward:c", "selection:weighted_sum", None),
        ((9.0, -1.0, -1.0), "reward:b", None, "selection:majority"),
        ((0.25, 2.5, 0.0), "reward:a", "selection:weighted_sum", "selection:majority"),
        ((-1.0, -1.0, -1.0), "reward:a", "selection:weighted_sum", "selection:majority"),
    ],
)
def test_rules_as_a_table(
    gains: tuple[float, ...], everyone: str | None, weighted: str | None, majority: str | None
) -> None:
    scores = golden(**dict(zip(MARGINS, gains, strict=True)), seen=-9.0)
    found = [rule(name).objection(SOURCE, scores) for name in ("all", "weighted_sum", "majority")]
    assert found == [everyone, weighted, majority]


def test_majority_of_two_is_both() -> None:
    assert rule("majority", "b", "c").objection(SOURCE, golden(b=1, c=-1)) == "selection:majority"
    assert rule("majority", "b", "c").objection(SOURCE, golden(b=1, c=1)) is None


def test_majority_is_one_vote_a_reward_whatever_it_weighs() -> None:
    heavy = rule("majority", weights={"a": 100.0, "b": 1.0, "c": 1.0})
    assert heavy.objection(SOURCE, golden(a=9, b=-1, c=-1)) == "selection:majority"


@pytest.mark.parametrize("name", ["all", "weighted_sum", "majority"])
@pytest.mark.parametrize(("score", "wins"), [(1.5, False), (1.5000001, True), (1.0, False)])
def test_one_reward_decides_alike_by_every_rule(name: RuleName, score: float, wins: bool) -> None:
    objection = rule(name, "a").objection({"a": 1.0}, {"a": score})
    assert (objection is None) == wins


def test_merit_is_the_weighted_sum_of_the_gains_by_every_rule() -> None:
    scores = golden(a=1.0, b=-20.0, c=0.5, seen=7.0)
    merits = [rule(name).merit(SOURCE, scores) for name in ("all", "weighted_sum", "majority")]
    assert merits == pytest.approx([1.0 - 2.0 + 1.0] * 3)


def test_missing_names_the_first_reward_that_selects_and_gave_no_score() -> None:
    assert rule("all").missing(SOURCE, golden()) is None
    assert rule("all").missing(SOURCE, golden() | {"seen": None}) is None
    assert rule("all").missing(SOURCE, golden() | {"b": None, "c": None}) == "b"
    assert rule("all").missing(SOURCE | {"c": None}, golden()) == "c"
