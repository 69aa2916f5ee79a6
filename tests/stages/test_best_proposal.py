"""Choice of a candidate's best golden noise, and the records of the others."""

from itertools import permutations

import pytest
import torch

from pipeline.core.records import NoiseStats, Status
from pipeline.stages.select import BestProposal, Judged, ScoredProposal

STATS = NoiseStats(cosine=0.9, relative_change=0.3, mean=0.0, std=1.0, kurtosis=0.0)


def entrant(name: str, preference: tuple[int, float], evaluations: int = 1) -> ScoredProposal:
    judged = Judged(
        noise_stats=STATS,
        converged=True,
        images_finite=True,
        source_rewards={"r": 0.0},
        golden_rewards={"r": preference[1]},
    )
    return ScoredProposal(
        name=name,
        golden_noise=torch.zeros(1),
        pixels=torch.zeros(1, 1, 3),
        judged=judged,
        status=Status.KEPT if preference[0] == 3 else Status.REJECTED,
        reason=None if preference[0] == 3 else "reward:r",
        preference=preference,
        forward_evaluations=evaluations,
    )


def after(entrants: list[ScoredProposal]) -> BestProposal:
    contest = BestProposal(best=entrants[0])
    for one in entrants[1:]:
        contest = contest.joined_by(one)
    return contest


@pytest.mark.parametrize("order", list(permutations("abcd")), ids="".join)
def test_the_best_wins_and_the_losers_stay_in_their_order(order: tuple[str, ...]) -> None:
    preferences = {"a": (3, 0.5), "b": (3, 0.25), "c": (2, 9.0), "d": (0, 0.0)}
    contest = after([entrant(name, preferences[name], ord(name)) for name in order])
    assert contest.best.name == "a"
    assert [loser.name for loser in contest.losers] == [name for name in order if name != "a"]
    assert contest.forward_evaluations == sum(map(ord, order))


def test_among_equals_the_first_wins() -> None:
    contest = after([entrant(name, (3, 1.0)) for name in "ab"])
    assert (contest.best.name, [loser.name for loser in contest.losers]) == ("a", ["b"])


def test_loser_keeps_its_scores_and_what_would_have_become_of_it() -> None:
    (loser,) = after([entrant("a", (3, 1.0)), entrant("b", (2, 0.5), evaluations=7)]).losers
    assert loser.model_dump() == {
        "name": "b",
        "status": Status.REJECTED,
        "reason": "reward:r",
        "golden_rewards": {"r": 0.5},
        "noise_stats": STATS.model_dump(),
        "forward_evaluations": 7,
    }
