"""A plan's settings as the stages take them, and what they cost."""

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
    """How the units of a plan are made."""

    guidance: Guidance
    """How the model is guided."""
    sampling: SamplingConfig
    proposers: Mapping[str, Proposer]
    """By name; those that come from files have yet to be loaded."""
    from_images: bool
    """Whether source images have a part in golden noise."""
    rule: ScoreRule
    gate: GateConfig
    output: OutputConfig
    batch_size: int

    @classmethod
    def of(cls, plan: Plan) -> "BuildSpec":
        """The spec of a plan."""
        settings = plan.settings
        # Plans of before there was a choice do not say.
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
        """Golden noises for one candidate."""
        return sum(proposer.proposals for proposer in self.proposers.values())

    def image_evaluations(self) -> int:
        """Forward evaluations for one image."""
        return sample_evaluations(
            self.sampling.num_inference_steps, self.sampling.guidance_scale, self.guidance
        )

    def evaluations(self) -> int:
        """Forward evaluations for one candidate, at most: its source image, its golden noises and
        their images."""
        making = sum(proposer.evaluations for proposer in self.proposers.values())
        return making + (1 + self.proposals) * self.image_evaluations()

    def golden_evaluations(self) -> int:
        """Forward evaluations for a golden image by itself, at most: for one that wants nothing
        else, the source image counts only where golden noise is made from it."""
        return self.evaluations() - (0 if self.from_images else self.image_evaluations())
