"""Core records of the pipeline: candidates, outcomes and noise statistics.

A *candidate* is a prompt with a seed, before scoring. Its *outcome* records that it was kept, was
rejected with a reason, failed with a reason, or was not judged. Every candidate has an outcome.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 3
"""Version of all stored formats: plan, receipt, shard columns, ledger, manifest.

2   oldest version that can be read
3   several proposals per candidate: receipts and ledger record the chosen one, the cost and the
    scores of the others; plans hold a list of proposers, weights and the selection rule
4   candidates that are not judged: status ``unjudged``, column ``judged``. Only plans that judge a
    sample are written with it, so that older programs can read all others.
"""

NEWEST_SCHEMA_VERSION = 4
"""Newest version that can be read; the version of plans that judge a sample."""

OLDEST_SCHEMA_VERSION = 2
"""Oldest version that can be read, verified, selected from and exported."""

RuleName = Literal["all", "weighted_sum", "majority"]
"""Rule that combines the selecting rewards (``stages/select.py``)."""


class Record(BaseModel):
    """Base class of all records stored as JSON. Frozen, strict, without unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class Split(StrEnum):
    """Part of the data set. All seeds of a prompt belong to the same split."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Status(StrEnum):
    """Final status of a candidate."""

    KEPT = "kept"
    REJECTED = "rejected"
    """Scored, but not better by the margin, or outside the gate."""
    FAILED = "failed"
    """Could not be scored, for example because a value was NaN or infinite."""
    UNJUDGED = "unjudged"
    """Not in the sample that is judged; its golden noise is within the gate."""


class DropReason(StrEnum):
    """Reason why a prompt was dropped, in the order of the filters."""

    BLANK = "blank"
    """No value, or no visible character."""
    REPEATED = "repeated"
    """Equal to an earlier prompt after normalisation."""
    BLOCKED = "blocked"
    """Contains a word or phrase of the block list."""
    TOO_LONG = "too_long"
    """Longer than the model's token limit."""
    UNSAFE = "unsafe"
    """Classified as unsafe by the safety filter."""
    NEAR_REPEATED = "near_repeated"
    """Similar to an earlier prompt."""
    NOT_SAMPLED = "not_sampled"
    """Not chosen, because more prompts were left than the sample holds."""


class Candidate(Record):
    """A prompt with a seed, before scoring."""

    index: int
    """Position in the plan, from 0."""
    prompt: str
    """Normalised text."""
    prompt_id: str
    split: Split
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @property
    def sample_id(self) -> str:
        """Stable key of the pair. The same prompt and seed have the same key in every data set."""
        return f"{self.prompt_id}-{self.seed:08x}"


class NoiseStats(Record):
    """Distance of a golden noise from its source, and its moments compared with a Gaussian."""

    cosine: float
    """Cosine similarity of source and golden noise."""
    relative_change: float
    """‖golden − source‖ / ‖source‖."""
    mean: float
    """Mean of the golden noise's values; 0 for a Gaussian."""
    std: float
    """Standard deviation of the golden noise's values; 1 for a Gaussian."""
    kurtosis: float
    """Excess kurtosis of the golden noise's values; 0 for a Gaussian."""


class LosingProposal(Record):
    """A golden noise that was made for a candidate but was not the best one."""

    name: str
    """Name of its proposer, followed by /0, /1 … if the proposer makes several."""
    status: Status
    """Status that the candidate would have with this noise."""
    reason: str | None
    golden_rewards: dict[str, float | None]
    noise_stats: NoiseStats | None
    forward_evaluations: int
    """Denoiser evaluations to make the noise and to sample its image."""


class Outcome(Record):
    """Result of one candidate, with all measurements.

    If several golden noises were made, the outcome is that of the best one.
    """

    candidate: int
    """Position in the plan, from 0."""
    sample_id: str
    prompt_id: str
    split: Split
    seed: int
    status: Status
    reason: str | None
    """None if kept, else ``<what>:<detail>``, such as ``gate:kurtosis``."""
    truncated: bool
    """True if the text encoder truncated the prompt."""
    source_rewards: dict[str, float | None]
    """Maps each reward to the score of the source image; None if it could not be computed."""
    golden_rewards: dict[str, float | None]
    noise_stats: NoiseStats | None
    """None if the golden noise is constant or not finite."""
    num_bytes: Annotated[int, Field(ge=0)]
    """Payload of the pair in the unit object, in bytes; 0 if it is not stored."""
    proposal: str | None = None
    """Name of the golden noise; None if none was made, and before version 3."""
    forward_evaluations: int = 0
    """Denoiser evaluations for the source image and all proposals with their images; 0 if nothing
    was computed, and before version 3."""
    losing_proposals: tuple[LosingProposal, ...] = ()
    """All proposals except the best, in the order of the proposers."""
    judged: Annotated[bool, Field(exclude_if=bool)] = True
    """False if the candidate is not in the sample that is judged, whatever its status. Stored only
    then, because receipts of plans that judge every candidate do not have it."""

    @model_validator(mode="after")
    def _check_status(self) -> Self:
        """Reject an outcome that contradicts itself, as in a receipt that was changed."""
        if self.in_shards != (self.reason is None):
            raise ValueError(f"{self.status} with the reason {self.reason!r}")
        if self.in_shards and not self.num_bytes:
            raise ValueError(f"{self.status} without a stored pair")
        if self.judged == (self.status is Status.UNJUDGED) and self.in_shards:
            raise ValueError(f"{self.status}, and judged is {self.judged}")
        scores = (*self.source_rewards.values(), *self.golden_rewards.values())
        if not self.judged and any(score is not None for score in scores):
            raise ValueError("a candidate that is not judged has scores")
        return self

    @property
    def in_shards(self) -> bool:
        """True if the pair is part of the data set: it is kept, or it is not judged."""
        return self.status in (Status.KEPT, Status.UNJUDGED)
