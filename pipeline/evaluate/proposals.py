"""Descriptions of a plan's proposers, and the number of candidates that each one won."""

import numpy as np

from pipeline.config.plan import Plan, PlannedCustom, PlannedNetwork, PlannedProposer
from pipeline.config.proposers import (
    BestOfNProposer,
    InversionSettings,
    RedenoiseProposer,
    TrajectoryProposer,
    ZigzagProposer,
)
from pipeline.core.identity import short
from pipeline.evaluate.scores import ScoreTable


def describe_proposers(plan: Plan) -> str:
    """Return a phrase that describes every proposer of a plan."""
    phrases = [_phrase(each) for each in plan.proposers]
    if len(phrases) == 1:
        return phrases[0]
    named = zip(plan.proposers, phrases, strict=True)
    return "the best of " + "; ".join(f"{each.name} ({phrase})" for each, phrase in named)


def best_proposers(plan: Plan, scores: ScoreTable) -> list[list[str]]:
    """Return a table row for each proposer; empty if the plan has a single proposer.

    A row has the proposer's name, the number of candidates for which it made the best golden noise,
    their share, and the number of these that were kept.
    """
    if len(plan.proposers) < 2 or scores.proposal is None:
        return []
    # The name of a proposal is "proposer", or "proposer/index" if the proposer makes several.
    made = np.array([name.partition("/")[0] for name in scores.proposal])
    total = max(int((made != "").sum()), 1)
    rows = []
    for name in (each.name for each in plan.proposers):
        best = made == name
        share = f"{best.sum() / total:.1%}"
        rows.append([name, str(best.sum()), share, str((best & scores.kept).sum())])
    return rows


def _phrase(proposer: PlannedProposer) -> str:
    match proposer:
        case RedenoiseProposer(rounds=rounds):
            return _steps(proposer) + (f", {rounds} times" if rounds > 1 else "")
        case ZigzagProposer():
            return f"a zigzag along {_steps(proposer)}"
        case TrajectoryProposer(inversion_guidance_scale=scale):
            return f"inversion of the source image at guidance {scale:g} ({_inversion(proposer)})"
        case BestOfNProposer():
            return f"{proposer.n} random noises"
        case PlannedNetwork(rounds=rounds, digest=digest):
            times = f"{rounds} time{'s' * (rounds > 1)}"
            return f"noise prompt network {short(digest)}, applied {times}"
        case PlannedCustom():
            return f"{proposer.entry}, code {short(proposer.digest)}"


def _steps(proposer: RedenoiseProposer | ZigzagProposer) -> str:
    return (
        f"{proposer.num_steps} of {proposer.num_inference_steps} steps at guidance "
        f"{proposer.guidance_scale:g} down and {proposer.inversion_guidance_scale:g} back "
        f"({_inversion(proposer)})"
    )


def _inversion(proposer: InversionSettings) -> str:
    return proposer.inversion.replace("_", " ")
