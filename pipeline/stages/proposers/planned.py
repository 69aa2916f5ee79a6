"""Proposers of a plan, created from its settings alone.

Proposers from files are represented by their counts, which are enough to estimate the cost of a
plan. A worker loads them (``files``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config.proposers import RedenoiseProposer, TrajectoryProposer, ZigzagProposer
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance
from pipeline.plan import Plan
from pipeline.stages.propose import ProposedNoise, Proposer, Source
from pipeline.stages.proposers.best_of_n import BestOfN
from pipeline.stages.proposers.redenoise import Redenoise
from pipeline.stages.proposers.trajectory import Trajectory
from pipeline.stages.proposers.zigzag import Zigzag


@dataclass(frozen=True, kw_only=True)
class NotLoaded:
    """Placeholder with the counts of a proposer that a worker loads from files."""

    proposals: int
    evaluations: int

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Raise ``AssertionError``: a worker must load the proposer first."""
        raise AssertionError("the plan's proposer comes from files: load it first")


def planned_proposers(plan: Plan, guidance: Guidance) -> dict[str, Proposer]:
    """Return the proposers of a plan by name, in its order, for a kind of guidance."""
    return {str(each["name"]): _planned(each, plan, guidance) for each in plan.proposers}


def makes_from_images(plan: Plan) -> bool:
    """Return True if golden noise may be made from source images, which then add to its cost.

    A custom proposer may use them, so it counts as one that does.
    """
    return any(each["kind"] in ("trajectory", "custom") for each in plan.proposers)


def _planned(settings: Mapping[str, Any], plan: Plan, guidance: Guidance) -> Proposer:
    match settings["kind"]:
        case "redenoise":
            return Redenoise.of(RedenoiseProposer(**settings), guidance)
        case "zigzag":
            return Zigzag.of(ZigzagProposer(**settings), guidance)
        case "trajectory":
            steps = plan.settings["sampling"]["num_inference_steps"]
            return Trajectory.of(TrajectoryProposer(**settings), steps, guidance)
        case "best_of_n":
            return BestOfN(
                name=settings["name"],
                n=settings["n"],
                root_seed=plan.root_seed,
                seeds_per_prompt=plan.seeds_per_prompt,
            )
        case "npnet":
            return NotLoaded(proposals=1, evaluations=settings["rounds"])
        case "custom":
            return NotLoaded(proposals=settings["proposals"], evaluations=settings["evaluations"])
    raise AssertionError(f"a plan has no proposer of kind {settings['kind']!r}")
