"""The origin of a trained network: the model it belongs to, its pairs, and how it was trained."""

from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.errors import ModelError
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


def refuse_other_model(
    network: str | Path, origin: Origin | None, model: ModelIdentity, remedy: str
) -> None:
    """Raise ``ModelError`` if a network belongs to another model; ``remedy`` is how to allow it.

    A network without an origin, which earlier versions wrote, passes: its shapes alone can be
    checked.
    """
    if origin is None or origin.model.settings == model.settings:
        return
    same_text = origin.model.text_encoder == model.text_encoder is not None
    what = "the same text encoder" if same_text else "another text encoder"
    raise ModelError(
        f"{network}: trained for the model {origin.model}, and this is {model}: another model with "
        f"{what}. Train a network on pairs of this model, or {remedy} to use it all the same"
    )
