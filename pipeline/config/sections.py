"""The configuration of a build, typed and frozen; ``file`` reads it.

Every field says what it means and in which unit. A relative path is relative to the file that
names it. ``[cluster]`` says how a build runs and never what comes out of it; all other sections
are part of the plan's identity.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.model import ModelConfig
from pipeline.config.prompts import PromptsConfig
from pipeline.config.proposers import (
    NPNetConfig,
    NPNetProposer,
    ProposerConfig,
    RedenoiseConfig,
    RedenoiseProposer,
)
from pipeline.config.rewards import RewardConfig
from pipeline.config.section import Fraction, GuidanceScale, PositiveInt, Section
from pipeline.records import RuleName, Split


class SplitsConfig(Section):
    """Fractions of the *prompts* in each split; together 1."""

    train: Fraction = 1.0
    """Fraction of the prompts to train on."""
    validation: Fraction = 0.0
    """Fraction of the prompts to tune on."""
    test: Fraction = 0.0
    """Fraction of the prompts to report on."""

    @model_validator(mode="after")
    def _sum(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the three fractions add up to {total:g}; they must add up to 1")
        return self

    def fractions(self) -> dict[Split, float]:
        """The fractions by split."""
        return {split: float(getattr(self, split.value)) for split in Split}


class SamplingConfig(Section):
    """How both images of a pair are sampled."""

    num_inference_steps: Annotated[int, Field(ge=1, le=1000)]
    """N, steps from noise to image."""
    guidance_scale: GuidanceScale
    """Guidance; where it is classifier-free, 1 skips the unconditional pass."""
    guidance_rescale: Annotated[Fraction, Field(exclude_if=lambda share: share == 0)] = 0.0
    """How far a guided prediction is rescaled to the deviation of the conditional one
    (arXiv 2305.08891); images alone, never re-denoising."""
    scheduler: Literal["ddim", "model"] = "ddim"
    """DDIM with eta 0, or Euler along a flow; or the scheduler that the model came with, such as
    DPM-Solver++, as diffusers steps it. Noise is re-denoised by the first in either case."""


class SelectionConfig(Section):
    """How the rewards that select decide together whether a pair is kept."""

    rule: RuleName = "all"
    """The golden image wins under each reward; or its weighted gains exceed the weighted margins;
    or it wins under more than half of them."""


class GateConfig(Section):
    """Bounds within which a golden noise must look Gaussian.

    In standard errors of a Gaussian with as many values, so that one bound fits every resolution.
    """

    max_norm_deviation: Annotated[float, Field(gt=0)] = 6.0
    """Largest |‖x‖/√D − 1| in units of 1/√(2D)."""
    max_kurtosis_deviation: Annotated[float, Field(gt=0)] = 6.0
    """Largest |excess kurtosis| in units of √(24/D)."""


class UnitsConfig(Section):
    """How candidates are grouped; part of the result, because kernels differ with the batch."""

    size: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Candidates in a unit, the piece of work that is committed at once."""
    batch_size: PositiveInt = 32
    """Candidates that go through the model together."""


class OutputConfig(Section):
    """What the shards hold."""

    formats: Annotated[
        tuple[Literal["arrow", "webdataset"], ...], Field(strict=False, min_length=1)
    ] = ("arrow",)
    """Shard formats to write; each holds everything."""
    shard_bytes: Annotated[int, Field(ge=1024)] = 128_000_000
    """Payload of a shard in bytes, to the nearest pair below."""
    rows_per_batch: PositiveInt = 64
    """Rows in a record batch of an Arrow shard."""
    store_rejected: bool = False
    """Keep rejected pairs beside the units, so that margins can be lowered later (npd select)."""
    source_noise: bool = True
    """Store the source noise; it can be rebuilt from the seed."""
    images: Literal["none", "png", "webp"] = "none"
    """Store both images of a pair, lossless."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.formats)) != len(self.formats):
            raise ValueError("a format is named twice")
        return self


class ClusterConfig(Section):
    """How a build runs. None of it changes a byte of the result."""

    workers: PositiveInt = 1
    """Actors that compute units."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs that Ray reserves for a worker; 0 computes on the CPU."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """CPUs that Ray reserves for a worker."""
    cpu_offload: Literal["none", "model", "sequential"] = "none"
    """What a GPU without room for all does: weights wait in the machine's memory, by model or by
    layer; slower and slower still."""
    max_attempts: PositiveInt = 3
    """Failures of a unit after which its candidates are tried apart, to find the guilty ones."""
    hang_seconds: Annotated[float, Field(gt=0)] = 600.0
    """A worker whose computation does not move for so long is replaced."""
    load_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """A worker that has not loaded its models after so long is replaced."""


class Config(Section):
    """A whole build."""

    prompts: PromptsConfig
    splits: SplitsConfig = SplitsConfig()
    model: ModelConfig
    sampling: SamplingConfig
    redenoise: RedenoiseConfig | None = None
    npnet: NPNetConfig | None = None
    proposers: Annotated[tuple[ProposerConfig, ...], Field(strict=False)] = ()
    rewards: Annotated[tuple[RewardConfig, ...], Field(strict=False, min_length=1)]
    selection: SelectionConfig = SelectionConfig()
    gate: GateConfig = GateConfig()
    units: UnitsConfig = UnitsConfig()
    output: OutputConfig = OutputConfig()
    cluster: ClusterConfig = ClusterConfig()

    @field_validator("rewards", mode="after")
    @classmethod
    def _roles(cls, rewards: tuple[RewardConfig, ...]) -> tuple[RewardConfig, ...]:
        names = [reward.name for reward in rewards]
        if len(set(names)) != len(names):
            raise ValueError("two rewards have one name")
        if not any(reward.select for reward in rewards):
            raise ValueError("none has select = true, so nothing could be kept")
        return rewards

    @field_validator("proposers", mode="after")
    @classmethod
    def _distinct(cls, proposers: tuple[ProposerConfig, ...]) -> tuple[ProposerConfig, ...]:
        names = [proposer.name for proposer in proposers]
        if len(set(names)) != len(names):
            raise ValueError("two proposers have one name; give each its own")
        return proposers

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum([self.redenoise is not None, self.npnet is not None, bool(self.proposers)]) != 1:
            raise ValueError(
                "golden noise is proposed either by [redenoise] or by [npnet] or by [[proposers]]; "
                "set one of the three"
            )
        return self

    def all_proposers(self) -> tuple[ProposerConfig, ...]:
        """Every proposer, in whichever form it was written."""
        if self.redenoise is not None:
            return (RedenoiseProposer(kind="redenoise", **self.redenoise.model_dump()),)
        if self.npnet is not None:
            return (NPNetProposer(kind="npnet", **self.npnet.model_dump()),)
        return self.proposers
