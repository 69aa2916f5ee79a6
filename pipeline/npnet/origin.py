"""The origin of a trained network: the model it belongs to, its pairs, and how it was trained."""

from typing import Any

from pydantic import JsonValue

from pipeline.identity import canonical_json, sha256, short
from pipeline.records import Record


class ModelIdentity(Record):
    """A diffusion model, by the content of its files."""

    name: str
    """What its configuration calls it; for people."""
    settings: dict[str, JsonValue]
    """Digests of its files and LoRAs, and all settings that change what it makes of a prompt."""
    text_encoder: str | None = None
    """Digest of the files of its text encoders and tokenizers; None where it is not known."""

    @property
    def digest(self) -> str:
        """A short name of ``settings``; models with the same one are the same model."""
        return short(sha256(canonical_json(self.settings)))

    def __str__(self) -> str:
        text = "unknown" if self.text_encoder is None else short(self.text_encoder)
        return f"{self.name!r} (model {self.digest}, text encoder {text})"


class TrainingData(Record):
    """One sealed plan whose pairs a network was trained on."""

    plan_id: str
    version: int
    """Of its manifest."""
    manifest_sha256: str
    model_digest: str
    """``ModelIdentity.digest`` of the model that made the pairs."""


class Origin(Record):
    """Where a network comes from; stored in its ``config.json``."""

    project_version: str
    """Of this package, when training ended."""
    model: ModelIdentity
    """The model whose prompt embeddings it reads."""
    allow_other_model: bool = False
    """Whether it was trained on pairs of another model on purpose."""
    data: tuple[TrainingData, ...]
    init: str | None = None
    """Digest of the network that training started from."""
    settings: dict[str, Any]
    """``TrainingSettings``, as JSON."""
