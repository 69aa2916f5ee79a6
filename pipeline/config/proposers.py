"""The sections that say how golden noise is proposed.

``[redenoise]`` or ``[npnet]`` alone is the short form of one entry of ``[[proposers]]``.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from pipeline.config.section import GuidanceScale, Name, PositiveInt, Section

Steps = Annotated[int, Field(ge=1, le=1000)]


class InversionConfig(Section):
    """How the way back to noise is gone."""

    inversion_guidance_scale: GuidanceScale = 1.0
    """ω_w, guidance on the way back."""
    inversion: Literal["first_order", "exact"] = "first_order"
    """One evaluation a step (as published), or fixed-point iterations to a tolerance."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Exact inversion: relative change at which a step has converged."""
    max_iterations: PositiveInt = 50
    """Exact inversion: evaluations after which a step counts as not converged."""


class StepsConfig(Section):
    """Which steps are gone down and back."""

    num_inference_steps: Steps
    """N of the schedule whose steps are taken; decides the size of the perturbation."""
    num_steps: PositiveInt = 1
    """How many of them, from the noisiest on; at most N."""
    guidance_scale: GuidanceScale
    """ω_l, guidance on the way down."""
    timestep_spacing: Literal["leading", "trailing", "linspace"] | None = None
    """Which N of the training timesteps; by default as the model's own scheduler spaces them."""

    @model_validator(mode="after")
    def _steps(self) -> Self:
        if self.num_steps > self.num_inference_steps:
            raise ValueError(
                f"num_steps is {self.num_steps}, more than num_inference_steps "
                f"({self.num_inference_steps})"
            )
        return self


class RedenoiseConfig(InversionConfig, StepsConfig):
    """Golden noise by the method of the paper: k steps down at one scale, k back at another."""

    rounds: PositiveInt = 1
    """How often the whole is done, each time from what came out before."""


class NPNetConfig(Section):
    """Golden noise proposed by a trained noise prompt network, in place of ``[redenoise]``."""

    path: str
    """Folder that ``jobs.train_npnet`` wrote."""
    rounds: PositiveInt = 1
    """How often the network is applied; each round counts as one forward evaluation."""
    allow_other_model: bool = False
    """Use it though it was trained for another model, such as another fine-tune."""


class RedenoiseProposer(RedenoiseConfig):
    """The method of the paper: k steps down at one scale, k back at another."""

    kind: Literal["redenoise"]
    """Which proposer."""
    name: Name = "redenoise"
    """How receipts and ledger call it."""


class TrajectoryProposer(InversionConfig):
    """The source image, inverted as a whole at the low scale, on the schedule of ``[sampling]``."""

    kind: Literal["trajectory"]
    """Which proposer."""
    name: Name = "trajectory"
    """How receipts and ledger call it."""


class ZigzagProposer(InversionConfig, StepsConfig):
    """Down, back and down again at each of the first steps (Z-Sampling), then all the way back."""

    kind: Literal["zigzag"]
    """Which proposer."""
    name: Name = "zigzag"
    """How receipts and ledger call it."""


class BestOfNProposer(Section):
    """Random noises that have nothing to do with the source noise; the best image wins."""

    kind: Literal["best_of_n"]
    """Which proposer."""
    name: Name = "best_of_n"
    """How receipts and ledger call it; decides the noises, too."""
    n: Annotated[int, Field(ge=1, le=1000)]
    """Noises for each candidate, beside its source noise."""


class NPNetProposer(NPNetConfig):
    """A trained noise prompt network."""

    kind: Literal["npnet"]
    """Which proposer."""
    name: Name = "npnet"
    """How receipts and ledger call it."""


class CustomProposer(Section):
    """A proposer of your own (docs/proposers.md)."""

    kind: Literal["custom"]
    """Which proposer."""
    name: Name = "custom"
    """How receipts and ledger call it."""
    entry: str
    """Its class, as module:Class."""
    code: str | None = None
    """Folder in which that module lies; by default it is among what is installed."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the class."""


ProposerConfig = Annotated[
    RedenoiseProposer
    | TrajectoryProposer
    | ZigzagProposer
    | BestOfNProposer
    | NPNetProposer
    | CustomProposer,
    Field(discriminator="kind"),
]
