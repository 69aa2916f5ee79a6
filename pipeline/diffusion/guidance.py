"""Classifier-free guidance, without the half that a scale of 0 or 1 does not need.

Classifier-Free Diffusion Guidance, arXiv 2207.12598, in the convention of diffusers: scale 1 is
the conditional model, 0 the unconditional one. B batch.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.models.denoiser import Denoiser, EncodedPrompts


def forward_evaluations(guidance_scale: float) -> int:
    """Forward evaluations of the network for one guided prediction of one sample: 1 or 2."""
    return 1 if guidance_scale in (0, 1) else 2


def combine(unconditional: Tensor, conditional: Tensor, guidance_scale: float) -> Tensor:
    """o = o_u + ω·(o_c - o_u), for outputs of any shape."""
    return unconditional + guidance_scale * (conditional - unconditional)


def guided_prediction(
    denoiser: "Denoiser",
    latents: Tensor,
    timestep: int,
    prompts: "EncodedPrompts",
    guidance_scale: float,
) -> Tensor:
    """The raw network output under guidance, float32, shaped like ``latents`` (B, ...).

    Two evaluations run as one call of 2B rows, the unconditional ones first.
    """
    if guidance_scale == 1:
        return denoiser.predict(latents, timestep, prompts.conditional)
    if guidance_scale == 0:
        return denoiser.predict(latents, timestep, prompts.unconditional)
    both = prompts.unconditional.concat(prompts.conditional)
    output = denoiser.predict(torch.cat([latents, latents]), timestep, both)
    unconditional, conditional = output.chunk(2)
    return combine(unconditional, conditional, guidance_scale)
