"""Checks that the files of one model do not contradict each other.

A checkpoint declares how it was trained by marker tensors (``v_pred``, ``ztsnr``) and by its
metadata (https://github.com/Stability-AI/ModelSpec). The configuration files declare it again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pipeline.core.errors import ModelError
from pipeline.core.weight_files import check_weights
from pipeline.models.diffusers.families import FAMILIES
from pipeline.models.diffusers.model_index import INDEX, ModelIndex

_ARCHITECTURES = {
    "stable-diffusion-v1": "StableDiffusionPipeline",
    "stable-diffusion-v2": "StableDiffusionPipeline",
    "stable-diffusion-xl": "StableDiffusionXLPipeline",
    "stable-diffusion-v3": "StableDiffusion3Pipeline",
    "stable-diffusion-3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "wan": "WanPipeline",
}
"""Maps prefixes of ``modelspec.architecture`` to pipeline classes of diffusers."""

_PREDICTIONS = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v_prediction",
    "v_prediction": "v_prediction",
}
"""Maps values of ``modelspec.prediction_type`` to the names that diffusers uses."""

_LATENTS_IN_A_TOKEN = {"FluxPipeline": 4}
"""Number of latent pixels that are packed into one token of the network, where it is not 1."""


def refuse_other_architecture(pipe: Any, file: Path) -> None:
    """Raise ``ModelError`` for a checkpoint or LoRA whose metadata names another family.

    A file without metadata, or with an unknown architecture, is accepted.
    """
    declared = _header(file)[1].get("modelspec.architecture", "").lower().replace("_", "-")
    families = {name for start, name in _ARCHITECTURES.items() if declared.startswith(start)}
    if families and type(pipe).__name__ not in families:
        raise ModelError(
            f"{file}: was made for {declared!r} (modelspec.architecture), but the model is a "
            f"{type(pipe).__name__}; use a file for this family, or the config of the other one"
        )


def refuse_other_prediction(pipe: Any, checkpoint: Path) -> None:
    """Raise ``ModelError`` if a checkpoint declares another prediction than the scheduler of
    ``pipe``.

    Call it after the scheduler of the configuration was set.
    """
    names, metadata = _header(checkpoint)
    scheduler = pipe.scheduler.config
    prediction = scheduler.get("prediction_type")
    if prediction is None:
        return  # a flow model always predicts a velocity
    if edm := sorted(name for name in names if name.startswith("edm_")):
        raise ModelError(
            f"{checkpoint}: is an EDM model (it has the marker tensor {edm[0]}), which is not "
            "supported"
        )
    declared = {"the mark v_pred": "v_prediction"} if "v_pred" in names else {}
    value = metadata.get("modelspec.prediction_type", "").lower()
    if value in _PREDICTIONS:
        declared["modelspec.prediction_type"] = _PREDICTIONS[value]
    for source, wanted in declared.items():
        if wanted != prediction:
            raise ModelError(
                f"{checkpoint}: has prediction_type {wanted!r} by {source}, but the "
                f"scheduler's configuration has {prediction!r}: set options = "
                f'{{ prediction_type = "{wanted}" }} in [model.scheduler], or remove the wrong '
                "declaration from the file"
            )
    if "ztsnr" in names and not scheduler.get("rescale_betas_zero_snr"):
        raise ModelError(
            f"{checkpoint}: was trained with zero terminal SNR (mark ztsnr), but the scheduler's "
            "configuration does not have it: set rescale_betas_zero_snr = true in the options of "
            "[model.scheduler]"
        )


def refuse_other_scheduler(index: ModelIndex) -> None:
    """Raise ``ModelError`` if ``model_index.json`` and the scheduler's file name two classes."""
    declared = index.scheduler_config.get("_class_name")
    _, used = index.classes["scheduler"]
    if declared is not None and declared != used:
        raise ModelError(
            f"{index.scheduler_path}: has _class_name {declared!r}, and {index.folder / INDEX} "
            f"names {used!r}: correct one of them; to use another scheduler, set its name in "
            "[model.scheduler]"
        )


def refuse_parts_of_several_models(pipe: Any, where: str) -> None:
    """Raise ``ModelError`` if text encoders, network and decoder have different sizes."""
    for fault in (*_latent_faults(pipe), *_text_faults(pipe), *_tokenizer_faults(pipe)):
        raise ModelError(f"{where}: {fault}; its folders may come from several models")


def _latent_faults(pipe: Any) -> Iterator[str]:
    network = _network(pipe)
    decoder = pipe.vae.config
    channels = decoder.get("latent_channels") or decoder.get("z_dim")
    expected = channels * _LATENTS_IN_A_TOKEN.get(type(pipe).__name__, 1)
    if network.config.in_channels != expected:
        yield (
            f"{type(network).__name__} reads {network.config.in_channels} channels, but the "
            f"latents of {type(pipe.vae).__name__} have {expected}"
        )


def _text_faults(pipe: Any) -> Iterator[str]:
    network = _network(pipe)
    for option, sources in FAMILIES[type(pipe).__name__].text_widths.items():
        encoders: list[Any] = [getattr(pipe, name, None) for name, _ in sources]
        # An optional encoder, such as the T5 of SD3, may be absent.
        if None in encoders:
            continue
        pairs = zip(encoders, sources, strict=True)
        width = sum(getattr(encoder.config, key) for encoder, (_, key) in pairs)
        if network.config[option] != width:
            yield (
                f"{type(network).__name__} has {option} {network.config[option]}, but "
                f"{' with '.join(name for name, _ in sources)} gives {width}"
            )


def _tokenizer_faults(pipe: Any) -> Iterator[str]:
    for name, tokenizer in pipe.components.items():
        encoder = getattr(pipe, name.replace("tokenizer", "text_encoder"), None)
        if not name.startswith("tokenizer") or tokenizer is None or encoder is None:
            continue
        known = encoder.get_input_embeddings().num_embeddings
        if len(tokenizer) > known:
            yield f"{name} has {len(tokenizer)} tokens, but its text encoder knows {known}"


def _network(pipe: Any) -> Any:
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def _header(file: Path) -> tuple[set[str], dict[str, str]]:
    """Return the names of a file's tensors and its metadata, without reading the tensors."""
    check_weights(file)
    try:
        with safe_open(file, framework="pt") as opened:
            return set(opened.keys()), dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} is damaged ({error}); fetch it again") from error
