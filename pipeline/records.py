"""The nouns of the pipeline: what is planned, what became of it, what is stored.

A *candidate* is a prompt with a seed, before judging. Its *outcome* is what became of it: kept,
rejected with a reason, or failed with a reason. Nothing is dropped without an outcome.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 3
"""Version of everything stored: plan, receipt, shard columns, ledger, manifest.

2   the first that is read
3   several proposals a candidate: receipts and ledger say which was chosen, what the candidate cost
    and how the others scored; plans hold proposers as a list, weights and the rule of selection
"""

OLDEST_SCHEMA_VERSION = 2
"""What was written with it, or since, is read, verified, selected from and exported."""

RuleName = Literal["all", "weighted_sum", "majority"]
"""How the rewards that select decide together (``stages/score_rule.py``)."""


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


class LosingProposal(Record):
    """A golden noise that was made for a candidate, and was not the best of those made."""

    name: str
    """Of its proposer; with /0, /1 … behind it where that makes several."""
    status: Status
    """What would have become of the candidate with it."""
    reason: str | None
    golden_rewards: dict[str, float | None]
    noise_stats: NoiseStats | None
    forward_evaluations: int
    """Of the denoiser, to make it and to sample its image."""


class Outcome(Record):
    """What became of one candidate, with everything that was measured on the way.

    Where several golden noises were made, it is that of the best of them.
    """

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
    proposal: str | None = None
    """Name of the golden noise; None where none was made, and before version 3."""
    forward_evaluations: int = 0
    """Of the denoiser, for the source image and all proposals with their images; 0 where nothing
    was computed, and before version 3."""
    losing_proposals: tuple[LosingProposal, ...] = ()
    """All but the best, in the order of the proposers."""
