"""Settings of a plan in the form that the stages use, and their cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config.plan import Plan, PlannedCustom, PlannedNetwork, PlannedProposer
from pipeline.config.proposers import (
    BestOfNProposer,
    RedenoiseProposer,
    TrajectoryProposer,
    ZigzagProposer,
)
from pipeline.config.sections import GateConfig, OutputConfig, SamplingConfig
from pipeline.core.records import SCHEMA_VERSION
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance
from pipeline.diffusion.sample import sample_evaluations
from pipeline.stages.propose import ProposedNoise, Proposer, Source
from pipeline.stages.proposers import BestOfN, Redenoise, Trajectory, Zigzag
from pipeline.stages.select import ScoreRule


@dataclass(frozen=True, kw_only=True)
class BuildSpec:
    """Settings that compute the units of a plan."""

    guidance: Guidance
    """Kind of guidance that the model uses."""
    sampling: SamplingConfig
    proposers: Mapping[str, Proposer]
    """Maps names to proposers. Those from files are placeholders that a worker replaces."""
    from_images: bool
    """True if golden noise may be made from source images."""
    rule: ScoreRule
    gate: GateConfig
    output: OutputConfig
    batch_size: int
    judged_share: float | None = None
    """Share of the candidates that are judged. None judges all of them."""
    schema_version: int = SCHEMA_VERSION
    """Version of the columns of unit objects."""

    @classmethod
    def of(cls, plan: Plan) -> "BuildSpec":
        """Create the spec of a plan."""
        settings = plan.settings
        guidance = settings.model.guidance
        return cls(
            guidance=guidance,
            sampling=settings.sampling,
            proposers=planned_proposers(plan, guidance),
            from_images=makes_from_images(plan),
            rule=ScoreRule.of(plan),
            gate=settings.gate,
            output=settings.output,
            batch_size=settings.units.batch_size,
            judged_share=settings.judging.share,
            schema_version=plan.schema_version,
        )

    @property
    def proposals(self) -> int:
        """Number of golden noises for one candidate."""
        return sum(proposer.proposals for proposer in self.proposers.values())

    def image_evaluations(self) -> int:
        """Return the number of forward evaluations for one image."""
        return sample_evaluations(
            self.sampling.num_inference_steps, self.sampling.guidance_scale, self.guidance
        )

    def evaluations(self) -> int:
        """Return the maximum number of forward evaluations for one judged candidate.

        It covers the source image, the golden noises and their images.
        """
        return self._making() + (1 + self.proposals) * self.image_evaluations()

    def unjudged_evaluations(self) -> int:
        """Return the maximum number of forward evaluations for a candidate that is not judged.

        The source image counts only if golden noise is made from it.
        """
        return self._making() + (self.image_evaluations() if self.from_images else 0)

    def mean_evaluations(self) -> float:
        """Return the maximum number of forward evaluations for a candidate, on average."""
        if self.judged_share is None:
            return self.evaluations()
        # A source image from which golden noise is made is sampled again to be judged.
        judged = (1 + self.proposals) * self.image_evaluations()
        return self.unjudged_evaluations() + self.judged_share * judged

    def mean_images(self) -> float:
        """Return the number of decoded and scored images for a candidate, on average."""
        return (1 + self.proposals) * (1.0 if self.judged_share is None else self.judged_share)

    def _making(self) -> int:
        return sum(proposer.evaluations for proposer in self.proposers.values())

    def golden_evaluations(self) -> int:
        """Return the maximum number of forward evaluations for a golden image alone.

        The source image counts only if golden noise is made from it.
        """
        return self.evaluations() - (0 if self.from_images else self.image_evaluations())


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
    return {each.name: _planned(each, plan, guidance) for each in plan.proposers}


def makes_from_images(plan: Plan) -> bool:
    """Return True if golden noise may be made from source images, which then add to its cost.

    A custom proposer may use them, so it counts as one that does.
    """
    return any(each.kind in ("trajectory", "custom") for each in plan.proposers)


def _planned(settings: PlannedProposer, plan: Plan, guidance: Guidance) -> Proposer:
    match settings:
        case RedenoiseProposer():
            return Redenoise(settings=settings, guidance=guidance)
        case ZigzagProposer():
            return Zigzag(settings=settings, guidance=guidance)
        case TrajectoryProposer():
            steps = plan.settings.sampling.num_inference_steps
            return Trajectory(settings=settings, num_inference_steps=steps, guidance=guidance)
        case BestOfNProposer():
            return BestOfN(
                name=settings.name,
                n=settings.n,
                root_seed=plan.root_seed,
                seeds_per_prompt=plan.seeds_per_prompt,
            )
        case PlannedNetwork():
            return NotLoaded(proposals=1, evaluations=settings.rounds)
        case PlannedCustom():
            return NotLoaded(proposals=settings.proposals, evaluations=settings.evaluations)
