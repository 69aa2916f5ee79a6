"""Loading of a decoder that replaces the one of a model, and checks that it fits the model.

A decoder of other latents makes pictures of noise without an error. It fits if everything in its
configuration that describes latents and images is equal to that of the model's decoder.
"""

from typing import Any

from pipeline.core.errors import ModelError
from pipeline.core.untrusted_files import read_json
from pipeline.models.diffusers.components import check_declared, load_component
from pipeline.models.diffusers.decoder import ResolvedDecoder
from pipeline.models.diffusers.model_index import CONFIG_BYTES
from pipeline.models.diffusers.resolved_model import ResolvedModel
from pipeline.models.diffusers.untrusted_folder import check_folder, weights_in

_OF_LATENTS = (
    "latent_channels",
    "z_dim",
    "scaling_factor",
    "shift_factor",
    "latents_mean",
    "latents_std",
    "out_channels",
    "patch_size",
    "scale_factor_spatial",
    "scale_factor_temporal",
)
"""Keys of the configuration of a decoder that describe its latents and images."""

_LEVELS = ("block_out_channels", "dim_mult")
"""Keys with one entry per level. Each level doubles the size of the image."""


def replace_decoder(pipe: Any, model: ResolvedModel) -> None:
    """Replace the decoder of ``pipe`` if ``[model.vae]`` names another one.

    Raises ``ModelError`` for a decoder that is missing, damaged, or of other latents.
    """
    decoder = model.decoder
    if decoder is not None:
        pipe.register_modules(vae=_load(decoder, pipe.vae, str(model)))


def _load(decoder: ResolvedDecoder, original: Any, where: str) -> Any:
    config, _ = decoder.files
    check_folder(decoder.folder, decoder.files)
    component: Any = type(original)
    declared = read_json(config, ModelError, CONFIG_BYTES).get("_class_name")
    if declared != component.__name__:
        raise ModelError(
            f"{config}: the decoder is {declared!r}, but that of {where} is "
            f"{component.__name__!r}; [model.vae] needs a decoder of the same class"
        )
    check_declared(component, decoder.folder, weights_in(decoder.folder, decoder.files))
    loaded: Any = load_component(component, decoder.folder, original.dtype, decoder.config.variant)
    for key in (*_OF_LATENTS, *_LEVELS):
        found, expected = (_value(vae.config, key) for vae in (loaded, original))
        if found != expected:
            raise ModelError(
                f"{config}: the decoder has {key} = {found}, but that of {where} has {expected}; "
                "[model.vae] needs a decoder of the same latents and images"
            )
    return loaded


def _value(config: Any, key: str) -> object:
    """Return what must be equal: the value of a key, or the number of its levels."""
    value = config.get(key)
    if key in _LEVELS and value is not None:
        return f"{len(value)} levels"
    return list(value) if isinstance(value, tuple) else value
