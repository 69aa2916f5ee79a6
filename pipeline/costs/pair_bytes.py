"""Bytes of a stored pair."""

from collections.abc import Sequence

from pipeline.config.sections import OutputConfig

_FLOAT16 = 2


def pair_bytes(
    output: OutputConfig, latent_values: int, image_values: int, prompts: Sequence[str]
) -> int:
    """Noises exactly, images as if they did not compress, and a prompt as long as most.

    ``latent_values`` and ``image_values`` are the numbers in one latent and in one image.
    """
    noises = 2 if output.source_noise else 1
    images = 0 if output.images == "none" else 2 * image_values
    prompt = sum(len(prompt.encode()) for prompt in prompts) // len(prompts)
    return noises * _FLOAT16 * latent_values + images + prompt
