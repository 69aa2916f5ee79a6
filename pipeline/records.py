"""The nouns of the pipeline: what is planned, what became of it, what is stored.

A *candidate* is a prompt with a seed, before judging. Its *outcome* is what became of it: kept,
rejected with a reason, or failed with a reason. Nothing is dropped without an outcome.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 2
"""Version of everything stored: plan, receipt, shard columns, ledger, manifest."""


class Record(BaseModel):
    """Base of everything that is stored as JSON: frozen, strict, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class Split(StrEnum):
    """The part of the data set that a prompt, with all its seeds, belongs to."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Status(StrEnum):
    """What became of a candidate."""

    KEPT = "kept"
    REJECTED = "rejected"
    """Judged, and not better by the margin, or outside the sanity gate."""
    FAILED = "failed"
    """Could not be judged: something along the way was NaN or infinite."""


class Candidate(Record):
    """A prompt with a seed, before judging."""

    index: int
    """Position in the plan, from 0."""
    prompt: str
    """Normalised text."""
    prompt_id: str
    split: Split
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @property
    def sample_id(self) -> str:
        """Stable key of the pair: the same prompt and seed have it in every data set."""
        return f"{self.prompt_id}-{self.seed:08x}"


class NoiseStats(Record):
    """How far a golden noise moved, and whether it still looks like Gaussian noise."""

    cosine: float
    """Cosine between source and golden noise."""
    relative_change: float
    """‖golden − source‖ / ‖source‖."""
    mean: float
    """Mean of the golden noise's values; 0 for a Gaussian."""
    std: float
    """Standard deviation of the golden noise's values; 1 for a Gaussian."""
    kurtosis: float
    """Excess kurtosis of the golden noise's values; 0 for a Gaussian."""


class Outcome(Record):
    """What became of one candidate, with everything that was measured on the way."""

    candidate: int
    """Position in the plan, from 0."""
    sample_id: str
    prompt_id: str
    split: Split
    seed: int
    status: Status
    reason: str | None
    """None if kept; else ``<what>:<detail>``, as ``reward:image_reward`` or ``gate:kurtosis``."""
    truncated: bool
    """The text encoder cut the prompt."""
    source_rewards: dict[str, float | None]
    """Score of the source image by reward name; None where it could not be given."""
    golden_rewards: dict[str, float | None]
    noise_stats: NoiseStats | None
    """None where the golden noise is not finite, or constant."""
    num_bytes: int
    """Payload of the pair in the unit object, in bytes; 0 where it is not stored."""
