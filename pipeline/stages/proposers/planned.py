"""The proposers of a plan, from its settings alone: what they make, and what that takes.

Those that come from files are loaded by a worker (``files``); for all that a plan wants to know,
their settings are enough.
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
    """The counts of a proposer that has yet to be loaded from its files."""

    proposals: int
    evaluations: int

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """A programming error: a worker loads it first."""
        raise AssertionError("the plan's proposer comes from files: load it first")


def planned_proposers(plan: Plan, guidance: Guidance) -> dict[str, Proposer]:
    """The proposers of a plan by name, in its order, for a model that is guided so."""
    return {str(each["name"]): _planned(each, plan, guidance) for each in plan.proposers}


def makes_from_images(plan: Plan) -> bool:
    """Whether source images have a part in golden noise, and so in its cost; of a user's own
    proposer nobody knows."""
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
