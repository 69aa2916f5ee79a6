"""Origin of a trained network: the diffusion model, the pairs, and the settings of training."""

from typing import Any

from pydantic import JsonValue

from pipeline.core.identity import canonical_json, sha256, short
from pipeline.core.records import Record


class ModelIdentity(Record):
    """Identity of a diffusion model: the content of its files and its settings."""

    name: str
    """Name in the configuration; it does not count for the identity."""
    settings: dict[str, JsonValue]
    """Digests of its files and LoRAs, and all settings that change its result for a prompt."""
    text_encoder: str | None = None
    """Digest of the files of its text encoders and tokenizers, or None if unknown."""

    @property
    def digest(self) -> str:
        """Short digest of ``settings``; equal for equal models."""
        return short(sha256(canonical_json(self.settings)))

    def __str__(self) -> str:
        text = "unknown" if self.text_encoder is None else short(self.text_encoder)
        return f"{self.name!r} (model {self.digest}, text encoder {text})"


class TrainingData(Record):
    """Record of one sealed plan with training pairs."""

    plan_id: str
    version: int
    """Version of the manifest."""
    manifest_sha256: str
    model_digest: str
    """``ModelIdentity.digest`` of the model that made the pairs."""


class Origin(Record):
    """Origin of a network, stored in its ``config.json``."""

    project_version: str
    """Version of this package when the training started."""
    model: ModelIdentity
    """Diffusion model whose prompt embeddings the network reads."""
    allow_other_model: bool = False
    """True if training accepted pairs of another model."""
    data: tuple[TrainingData, ...]
    init: str | None = None
    """Digest of the network from which training started, or None."""
    settings: dict[str, Any]
    """``TrainingSettings``, as JSON."""
