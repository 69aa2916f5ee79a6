"""The configuration of a build, typed and frozen.

A relative path is relative to the file that names it. ``[cluster]`` and ``[notify]`` change how a
build runs and never its result. All other sections are part of the plan's identity.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.model import ModelConfig
from pipeline.config.notify import NotifyConfig
from pipeline.config.prompts import PromptsConfig
from pipeline.config.proposers import (
    NPNetConfig,
    NPNetProposer,
    ProposerConfig,
    RedenoiseProposer,
    RedenoiseSettings,
)
from pipeline.config.rewards import RewardConfig
from pipeline.config.section import Fraction, GuidanceScale, NumSteps, PositiveInt, Section
from pipeline.core.records import RuleName, Split


class SplitsConfig(Section):
    """Fractions of the *prompts* in each split; they add up to 1."""

    train: Fraction = 1.0
    """Fraction of prompts for training."""
    validation: Fraction = 0.0
    """Fraction of prompts for validation."""
    test: Fraction = 0.0
    """Fraction of prompts for testing."""

    @model_validator(mode="after")
    def _sum(self) -> Self:
        total = self.train + self.validation + self.test
        # Sums such as 0.7 + 0.2 + 0.1 differ from 1 in binary.
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the three fractions add up to {total:g}; they must add up to 1")
        return self

    def fractions(self) -> dict[Split, float]:
        """Return the fraction of each split."""
        return {split: float(getattr(self, split.value)) for split in Split}


Scheduler = Literal["ddim", "model"]
"""``ddim`` takes deterministic first-order steps, ``model`` uses the scheduler of the model."""


class SamplingConfig(Section):
    """Sampling of both images of a pair."""

    num_inference_steps: NumSteps
    """N, number of steps from noise to image."""
    guidance_scale: GuidanceScale
    """Guidance scale. With classifier-free guidance, 1 skips the unconditional pass."""
    guidance_rescale: Annotated[Fraction, Field(exclude_if=lambda share: share == 0)] = 0.0
    """Strength of rescaling a guided prediction to the standard deviation of the conditional one
    (arXiv 2305.08891). Applies to images, not to re-denoising."""
    scheduler: Scheduler = "ddim"
    """``ddim``: DDIM with eta 0, or Euler for flows. ``model``: the scheduler of the model, such as
    DPM-Solver++. Re-denoising uses the first in either case."""


class SelectionConfig(Section):
    """Rule by which the selecting rewards decide together whether a pair is kept."""

    rule: RuleName = "all"
    """``all``: the golden image wins under each reward. ``weighted_sum``: its weighted gains exceed
    the weighted margins. ``majority``: it wins under more than half of the rewards."""


class GateConfig(Section):
    """Bounds within which a golden noise must look Gaussian.

    The unit is the standard error of a Gaussian with as many values, so one bound fits every
    resolution.
    """

    max_norm_deviation: Annotated[float, Field(gt=0)] = 6.0
    """Largest |‖x‖/√D − 1| in units of 1/√(2D)."""
    max_kurtosis_deviation: Annotated[float, Field(gt=0)] = 6.0
    """Largest |excess kurtosis| in units of √(24/D)."""


class JudgingConfig(Section):
    """Choice of the candidates whose images are sampled and scored.

    Most evaluations of a pair sample its two images, which only tell whether it is kept.
    """

    policy: Literal["all", "sample"] = "all"
    """``all``: every candidate. ``sample``: a random share. The other pairs are stored without
    scores if their golden noise is within the gate."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the candidates that are judged, for the policy ``sample``."""

    @model_validator(mode="after")
    def _share(self) -> Self:
        if (self.policy == "sample") != (self.share is not None):
            raise ValueError('policy = "sample" and share belong together; set both or neither')
        return self


class UnitsConfig(Section):
    """Grouping of candidates; part of the result, because kernels differ with the batch."""

    size: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Number of candidates in a unit, which is computed and committed at once."""
    batch_size: PositiveInt = 32
    """Number of candidates that the model receives in one batch; at most ``size``."""

    @property
    def largest_batch(self) -> int:
        """Number of candidates in a full batch. No batch spans two units."""
        return min(self.batch_size, self.size)


class OutputConfig(Section):
    """Content and format of the shards."""

    formats: Annotated[
        tuple[Literal["arrow", "webdataset"], ...], Field(strict=False, min_length=1)
    ] = ("arrow",)
    """Shard formats to write; each holds all pairs."""
    shard_bytes: Annotated[int, Field(ge=1024)] = 128_000_000
    """Maximum payload of a shard in bytes."""
    rows_per_batch: PositiveInt = 64
    """Number of rows in a record batch of an Arrow shard."""
    store_rejected: bool = False
    """Store rejected pairs too, so that `npd select` can lower margins later."""
    source_noise: bool = True
    """Store the source noise. Without it, readers rebuild it from the seed."""
    images: Literal["none", "png", "webp"] = "none"
    """Format in which both images of a pair are stored, without loss."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.formats)) != len(self.formats):
            raise ValueError("a format is named twice")
        return self


class ClusterConfig(Section):
    """Resources and timeouts of a build. They change no byte of the result."""

    workers: PositiveInt = 1
    """Number of workers."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """Number of GPUs that Ray reserves for each worker; 0 computes on the CPU."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """Number of CPUs that Ray reserves for each worker."""
    cpu_offload: Literal["none", "model", "sequential"] = "none"
    """Keep weights in host memory until they are needed, per component (``model``, slower) or per
    layer (``sequential``, slowest), for GPUs with too little memory."""
    max_attempts: PositiveInt = 3
    """Number of failures of a unit after which its candidates are tried separately."""
    hang_seconds: Annotated[float, Field(gt=0)] = 600.0
    """Seconds without progress after which a worker is replaced."""
    load_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds after which a worker that has not loaded its models is replaced."""
    price_per_gpu_hour: Annotated[float, Field(ge=0)] | None = None
    """Price of one GPU for one hour, in any currency; for metrics of the cost."""


class Config(Section):
    """Configuration of a build."""

    prompts: PromptsConfig
    splits: SplitsConfig = SplitsConfig()
    model: ModelConfig
    sampling: SamplingConfig
    redenoise: RedenoiseSettings | None = None
    npnet: NPNetConfig | None = None
    proposers: Annotated[tuple[ProposerConfig, ...], Field(strict=False)] = ()
    rewards: Annotated[tuple[RewardConfig, ...], Field(strict=False, min_length=1)]
    selection: SelectionConfig = SelectionConfig()
    gate: GateConfig = GateConfig()
    judging: JudgingConfig = JudgingConfig()
    units: UnitsConfig = UnitsConfig()
    output: OutputConfig = OutputConfig()
    cluster: ClusterConfig = ClusterConfig()
    notify: NotifyConfig = NotifyConfig()

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
            raise ValueError("two proposers have one name; give each another")
        return proposers

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum([self.redenoise is not None, self.npnet is not None, bool(self.proposers)]) != 1:
            raise ValueError(
                "golden noise is proposed either by [redenoise] or by [npnet] or by [[proposers]]; "
                "set one of the three"
            )
        return self

    @model_validator(mode="after")
    def _images_of_all(self) -> Self:
        if self.judging.policy == "sample" and self.output.images != "none":
            raise ValueError(
                'output.images needs judging.policy = "all": a pair that is not judged has no '
                "images"
            )
        return self

    def all_proposers(self) -> tuple[ProposerConfig, ...]:
        """Return every proposer, from any of the three forms."""
        if self.redenoise is not None:
            return (RedenoiseProposer(kind="redenoise", **dict(self.redenoise)),)
        if self.npnet is not None:
            return (NPNetProposer(kind="npnet", **dict(self.npnet)),)
        return self.proposers
