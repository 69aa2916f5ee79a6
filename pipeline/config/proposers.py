"""Settings of the proposers of golden noise.

``[redenoise]`` or ``[npnet]`` alone is the short form of one entry of ``[[proposers]]``.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from pipeline.config.section import GuidanceScale, Name, NumSteps, PositiveInt, Section

Spacing = Literal["leading", "trailing", "linspace"]
"""Spacing of N timesteps in a training schedule, in the words of diffusers."""

Inversion = Literal["first_order", "exact"]
"""One evaluation per step, or fixed-point iterations."""


class InversionSettings(Section):
    """Settings of the DDIM inversion."""

    inversion_guidance_scale: GuidanceScale = 1.0
    """ω_w, guidance scale of the inversion steps."""
    inversion: Inversion = "first_order"
    """One evaluation per step, as published, or fixed-point iterations to ``tolerance``."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Relative change at which a step of exact inversion has converged. Networks in bfloat16 or
    float16 do not reach the default, because they round earlier."""
    max_iterations: PositiveInt = 50
    """Maximum number of evaluations for a step of exact inversion. A sample that needs more has not
    converged."""


class StepsSettings(Section):
    """Settings of the steps that are denoised and then inverted."""

    num_inference_steps: NumSteps
    """N, number of steps of the schedule; decides the size of the perturbation."""
    num_steps: PositiveInt = 1
    """k, number of steps that are denoised and inverted, from the noisiest; at most N."""
    guidance_scale: GuidanceScale
    """ω_l, guidance scale of the denoising steps."""
    timestep_spacing: Spacing | None = None
    """Spacing of the N timesteps. Default: the spacing of the model's scheduler, which is the only
    choice for flows."""

    @model_validator(mode="after")
    def _steps(self) -> Self:
        if self.num_steps > self.num_inference_steps:
            raise ValueError(
                f"num_steps is {self.num_steps}, more than num_inference_steps "
                f"({self.num_inference_steps})"
            )
        return self


class ZigzagSettings(InversionSettings, StepsSettings):
    """Golden noise by zigzag steps: denoise, invert and denoise each step, then invert all."""


class RedenoiseSettings(InversionSettings, StepsSettings):
    """Golden noise by the method of the paper: denoise k steps, then invert them."""

    rounds: PositiveInt = 1
    """Number of re-denoising rounds; each round starts from the previous result."""


class NPNetConfig(Section):
    """Golden noise proposed by a trained noise prompt network, in place of ``[redenoise]``."""

    path: str
    """Folder that ``jobs.train_npnet`` wrote."""
    rounds: PositiveInt = 1
    """Number of times the network is applied; each counts as one forward evaluation."""
    allow_other_model: bool = False
    """Use a network that was trained for another model, such as another fine-tune."""


class RedenoiseProposer(RedenoiseSettings):
    """The method of the paper: denoise k steps at one scale, invert them at another."""

    kind: Literal["redenoise"]
    """Kind of the proposer."""
    name: Name = "redenoise"
    """Name in receipts and ledger."""


class TrajectoryProposer(InversionSettings):
    """The source image, inverted over the complete schedule of ``[sampling]`` at the low scale."""

    kind: Literal["trajectory"]
    """Kind of the proposer."""
    name: Name = "trajectory"
    """Name in receipts and ledger."""


class ZigzagProposer(ZigzagSettings):
    """Z-Sampling: denoise, invert and denoise each of the first steps, then invert all."""

    kind: Literal["zigzag"]
    """Kind of the proposer."""
    name: Name = "zigzag"
    """Name in receipts and ledger."""


class BestOfNProposer(Section):
    """Independent random noises, of which the one with the best image wins."""

    kind: Literal["best_of_n"]
    """Kind of the proposer."""
    name: Name = "best_of_n"
    """Name in receipts and ledger; the noises depend on it."""
    n: Annotated[int, Field(ge=1, le=1000)]
    """Number of random noises per candidate, in addition to its source noise."""


class NPNetProposer(NPNetConfig):
    """A trained noise prompt network."""

    kind: Literal["npnet"]
    """Kind of the proposer."""
    name: Name = "npnet"
    """Name in receipts and ledger."""


class CustomSettings(Section):
    """Settings of a custom proposer that are part of a plan."""

    kind: Literal["custom"]
    """Kind of the proposer."""
    name: Name = "custom"
    """Name in receipts and ledger."""
    entry: str
    """Class of the proposer, as module:Class."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the class."""


class CustomProposer(CustomSettings):
    """A custom proposer class (docs/proposers.md)."""

    code: str | None = None
    """Folder of the module. Default: an installed module."""


ProposerConfig = Annotated[
    RedenoiseProposer
    | TrajectoryProposer
    | ZigzagProposer
    | BestOfNProposer
    | NPNetProposer
    | CustomProposer,
    Field(discriminator="kind"),
]
