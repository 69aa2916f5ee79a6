"""Settings of a plan in the form that the stages use, and their cost."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config.sections import GateConfig, OutputConfig, SamplingConfig
from pipeline.diffusion.denoiser import Guidance
from pipeline.diffusion.sample import sample_evaluations
from pipeline.plan import Plan
from pipeline.stages.propose import Proposer
from pipeline.stages.proposers.planned import makes_from_images, planned_proposers
from pipeline.stages.score_rule import ScoreRule


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

    @classmethod
    def of(cls, plan: Plan) -> "BuildSpec":
        """Create the spec of a plan."""
        settings = plan.settings
        # Older plans have no such setting: their models all used classifier-free guidance.
        guidance: Guidance = settings["model"].get("guidance", "classifier_free")
        return cls(
            guidance=guidance,
            sampling=SamplingConfig(**settings["sampling"]),
            proposers=planned_proposers(plan, guidance),
            from_images=makes_from_images(plan),
            rule=ScoreRule.of(plan),
            gate=GateConfig(**settings["gate"]),
            output=OutputConfig(**settings["output"]),
            batch_size=settings["units"]["batch_size"],
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
        """Return the maximum number of forward evaluations for one candidate.

        It covers the source image, the golden noises and their images.
        """
        making = sum(proposer.evaluations for proposer in self.proposers.values())
        return making + (1 + self.proposals) * self.image_evaluations()

    def golden_evaluations(self) -> int:
        """Return the maximum number of forward evaluations for a golden image alone.

        The source image counts only if golden noise is made from it.
        """
        return self.evaluations() - (0 if self.from_images else self.image_evaluations())
