"""The identity of a diffusion model, for the noise prompt networks that belong to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.model import ModelConfig
from pipeline.errors import ModelError
from pipeline.identity import canonical_json
from pipeline.models.model_settings import model_digests, model_settings
from pipeline.models.pipeline_files import (
    PipelineFiles,
    locate_pipeline,
    pipeline_digest,
    text_digest,
    variants_in,
)
from pipeline.npnet.config import Layout
from pipeline.npnet.latents import latents_of
from pipeline.npnet.origin import ModelIdentity, Origin

_SAME_MODEL = frozenset(
    {
        "name",
        "scheduler",
        "dtype",
        "height",
        "width",
        "num_frames",
        "guidance",
        "embedded_guidance",
        "negative_prompt",
        "steps_offset",
        "compile",
        "channels_last",
        "attention_backend",
        "vae_slicing",
        "vae_tiling",
    }
)
"""Settings of ``[model]`` with which it stays the same model with the same prompt embeddings. Any
other setting, also one that is added later, makes it another model."""


def planned_identity(settings: Mapping[str, Any]) -> ModelIdentity:
    """The model of a plan's ``settings["model"]``. It does not say which text encoder it has."""
    deciding = {
        name: value
        for name, value in settings.items()
        if name not in _SAME_MODEL and value not in (None, [])
    }
    return ModelIdentity(name=settings["name"], settings=deciding)


def with_text_encoder(identity: ModelIdentity, model: ModelConfig) -> ModelIdentity:
    """An identity with the digest of the model's text encoder. Raises ``ModelError``."""
    digest = text_digest(locate_pipeline(model), model.variant)
    return identity.model_copy(update={"text_encoder": digest})


def identity_of(model: ModelConfig) -> ModelIdentity:
    """The model of a configuration. Reads all of its files. Raises ``ModelError``."""
    planned = planned_identity(model_settings(model) | model_digests(model))
    return with_text_encoder(planned, model)


def model_in_folder(folder: Path, planned: Mapping[str, Any]) -> ModelConfig:
    """The model of a plan's ``settings["model"]``, read from a folder.

    A folder may hold the weights in several types, or in half precision alone. The variant is the
    one that the plan was made with. Where none has the plan's digest, it is the plain one, or the
    first where there is no plain one. Raises ``ModelError``.
    """
    # LoRAs are not in the folder, and other versions have other settings: both make another model,
    # which is refused where pairs are compared.
    known = ModelConfig.model_fields.keys() - {"loras"}
    settings = {name: value for name, value in planned.items() if name in known}
    files = PipelineFiles(folder=folder)
    variants = variants_in(folder)
    models = [
        ModelConfig.model_validate_json(
            canonical_json({**settings, "path": str(folder), "variant": variant})
        )
        for variant in variants
    ]
    matching = (m for m in models if pipeline_digest(files, m.variant) == planned["digest"])
    return next(matching, models[0])


def refuse_other_model(
    network: str | Path, origin: Origin | None, model: ModelIdentity, remedy: str
) -> None:
    """Raise ``ModelError`` if a network belongs to another model; ``remedy`` is how to allow it.

    A network without an origin, which earlier versions wrote, passes: its shapes alone can be
    checked.
    """
    if origin is None or origin.model.settings == model.settings:
        return
    raise ModelError(
        f"{network}: this network was trained for {origin.model}; here it would be used with "
        f"{model}. Train a network on pairs of this model, or {remedy} to use it all the same"
    )


def refuse_other_rows(network: str | Path, layout: Layout, model: ModelConfig) -> None:
    """Raise ``ModelError`` if packed noises of ``model`` stand in other rows than the network's.

    Images of 512 × 1024 and of 1024 × 512 pixels have packed noises of one shape.
    """
    latents, picture = latents_of(layout.noise_shape, model.height, model.width)
    if latents != layout.latents:
        raise ModelError(
            f"{network}: trained on noises of {layout.latent_shape}, which {model} packs as "
            f"{picture}: set height and width in [model] to those of its pairs, or train a network "
            "on pairs of this size"
        )
