"""Descriptions of a plan's proposers, and the number of candidates that each one won."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pipeline.evaluate.scores import ScoreTable
from pipeline.identity import short
from pipeline.plan import Plan

Settings = Mapping[str, Any]


def describe_proposers(plan: Plan) -> str:
    """Return a phrase that describes every proposer of a plan."""
    phrases = [_PHRASES[each["kind"]](each) for each in plan.proposers]
    if len(phrases) == 1:
        return phrases[0]
    named = zip(plan.proposers, phrases, strict=True)
    return "the best of " + "; ".join(f"{each['name']} ({phrase})" for each, phrase in named)


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
    for name in (each["name"] for each in plan.proposers):
        best = made == name
        share = f"{best.sum() / total:.1%}"
        rows.append([name, str(best.sum()), share, str((best & scores.kept).sum())])
    return rows


def _redenoise(settings: Settings) -> str:
    return _steps(settings) + _times(settings.get("rounds", 1))


def _zigzag(settings: Settings) -> str:
    return f"a zigzag along {_steps(settings)}"


def _steps(settings: Settings) -> str:
    return (
        f"{settings['num_steps']} of {settings['num_inference_steps']} steps at guidance "
        f"{settings['guidance_scale']:g} down and {settings['inversion_guidance_scale']:g} back "
        f"({_inversion(settings)})"
    )


def _trajectory(settings: Settings) -> str:
    return (
        f"inversion of the source image at guidance {settings['inversion_guidance_scale']:g} "
        f"({_inversion(settings)})"
    )


def _best_of_n(settings: Settings) -> str:
    return f"{settings['n']} random noises"


def _npnet(settings: Settings) -> str:
    rounds = settings["rounds"]
    digest = short(settings["digest"])
    return f"noise prompt network {digest}, applied {rounds} time{'s' * (rounds > 1)}"


def _custom(settings: Settings) -> str:
    return f"{settings['entry']}, code {short(settings['digest'])}"


def _inversion(settings: Settings) -> str:
    return str(settings["inversion"]).replace("_", " ")


def _times(rounds: int) -> str:
    return f", {rounds} times" if rounds > 1 else ""


_PHRASES: Mapping[str, Callable[[Settings], str]] = {
    "redenoise": _redenoise,
    "trajectory": _trajectory,
    "zigzag": _zigzag,
    "best_of_n": _best_of_n,
    "npnet": _npnet,
    "custom": _custom,
}
