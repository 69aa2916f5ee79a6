"""Identity of a diffusion model: its settings and digests in a plan, and which networks fit it."""

from pathlib import Path

from pipeline.config.model import ModelConfig, ModelSettings
from pipeline.config.plan import PlannedLora, PlannedModel, PlannedVae
from pipeline.core.errors import ModelError
from pipeline.models.diffusers.resolved_model import ResolvedModel, resolve_model, variants_in
from pipeline.npnet.config import Layout
from pipeline.npnet.latents import latents_of
from pipeline.npnet.origin import ModelIdentity, Origin

# Earlier versions fused layers with individual alphas in another strength. The mark changes the id
# of plans with LoRAs, so no build continues with units that were fused differently.
_FUSED_BY = "file"
"""Marks in the plan that each layer's strength is read from the LoRA file."""

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
        "vae",
        "vae_slicing",
        "vae_tiling",
    }
)
"""Settings of ``[model]`` that change neither the model nor its prompt embeddings. Every other
setting, also one that is added later, makes it another model."""


def model_settings(model: ModelConfig) -> PlannedModel:
    """Return the settings of ``[model]`` that decide the result, without the files."""
    settings = {name: getattr(model, name) for name in ModelSettings.model_fields}
    return PlannedModel(
        **settings
        | {
            "loras": tuple(PlannedLora(scale=lora.scale) for lora in model.loras),
            "scheduler": model.scheduler and model.scheduler.explicit(),
            "vae": model.vae and PlannedVae(),
        }
    )


def with_digests(settings: PlannedModel, model: ResolvedModel) -> PlannedModel:
    """Return ``settings`` with the digests of the files of ``model``. Raises ``ModelError``."""
    loras = tuple(
        PlannedLora(scale=lora.scale, digest=files.digest, fused_by=_FUSED_BY)
        for lora, files in zip(model.config.loras, model.loras, strict=True)
    )
    vae = model.decoder and PlannedVae(digest=model.decoder.digest)
    return settings.model_copy(update={"digest": model.digest, "loras": loras, "vae": vae})


def with_leading_offset(settings: PlannedModel, model: ResolvedModel) -> PlannedModel:
    """Return ``settings`` with the offset of leading timesteps. Raises ``ModelError``.

    It is needed if a proposer uses leading timesteps.
    """
    # Earlier versions used the offset 1 for every model. Only models with another offset have
    # another schedule now, so only their plans get a new id.
    scheduler = model.config.scheduler
    options = {} if scheduler is None else scheduler.options
    offset = options.get("steps_offset", model.index.steps_offset)
    return settings if offset == 1 else settings.model_copy(update={"steps_offset": offset})


def planned_identity(settings: PlannedModel) -> ModelIdentity:
    """Return the identity of the model of a plan.

    It lacks the digest of the text encoder (see ``with_text_encoder``).
    """
    deciding = {
        name: value
        for name, value in settings.model_dump(mode="json", exclude_unset=True).items()
        # Unset options are left out, so an option that is added later keeps identities unchanged.
        if name not in _SAME_MODEL and value not in (None, [])
    }
    return ModelIdentity(name=settings.name, settings=deciding)


def with_text_encoder(identity: ModelIdentity, model: ResolvedModel) -> ModelIdentity:
    """Return ``identity`` with the digest of the model's text encoder. Raises ``ModelError``."""
    return identity.model_copy(update={"text_encoder": model.text_digest})


def identity_of(model: ResolvedModel) -> ModelIdentity:
    """Return the identity of a configured model. It reads all files. Raises ``ModelError``."""
    planned = planned_identity(with_digests(model_settings(model.config), model))
    return with_text_encoder(planned, model)


def model_in_folder(folder: Path, planned: PlannedModel) -> ResolvedModel:
    """Return the model of a plan with its files in ``folder``.

    A folder may hold the weights in several variants. The one with the plan's digest is chosen, or
    the first one (plain weights, if present) if none has it. Raises ``ModelError``.
    """
    # LoRAs are not in the folder, and other versions have other settings. Both make another model,
    # which is rejected later, when its pairs are compared. A decoder does not.
    known = ModelSettings.model_fields.keys() - {"loras", "vae"}
    settings = {name: getattr(planned, name) for name in known}
    models = [
        resolve_model(ModelConfig(**settings, path=str(folder), variant=variant))
        for variant in variants_in(folder)
    ]
    matching = (model for model in models if model.digest == planned.digest)
    return next(matching, models[0])


def refuse_other_model(
    network: str | Path, origin: Origin | None, model: ModelIdentity, remedy: str
) -> None:
    """Raise ``ModelError`` if a network was trained for another model.

    ``remedy`` tells the user in the error how to allow it.
    """
    # Earlier versions wrote networks without an origin. Only their shapes can be checked.
    if origin is None or origin.model.settings == model.settings:
        return
    raise ModelError(
        f"{network}: this network was trained for {origin.model}; here it would be used with "
        f"{model}. Train a network on pairs of this model, or {remedy} to use it anyway"
    )


def refuse_other_rows(network: str | Path, layout: Layout, model: ModelConfig) -> None:
    """Raise ``ModelError`` if ``model`` packs its noise in another layout than the network's."""
    # The shape alone does not tell: images of 512 × 1024 and of 1024 × 512 pixels have packed noise
    # of the same shape.
    latents, picture = latents_of(layout.noise_shape, model.height, model.width)
    if latents != layout.latents:
        raise ModelError(
            f"{network}: trained on noises of {layout.latent_shape}, but {model} packs them as "
            f"{picture}: set height and width in [model] to those of its pairs, or train a network "
            "on pairs of this size"
        )
