"""Guided predictions, without the evaluations that a scale does not need.

Classifier-free guidance, arXiv 2207.12598, in the convention of diffusers: scale 1 is the
conditional model, 0 the unconditional one. A *guidance-distilled* network (FLUX.1-dev) receives the
scale as an embedding instead, and needs one evaluation at every scale. B batch.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance


def forward_evaluations(guidance_scale: float, guidance: "Guidance") -> int:
    """Return the forward evaluations for one guided prediction of one sample: 1 or 2."""
    return 1 if guidance == "embedded" or guidance_scale in (0, 1) else 2


def combine(unconditional: Tensor, conditional: Tensor, guidance_scale: float) -> Tensor:
    """Return o = o_u + ω·(o_c - o_u), for outputs of any shape."""
    return unconditional + guidance_scale * (conditional - unconditional)


def rescale(guided: Tensor, conditional: Tensor, guidance_rescale: float) -> Tensor:
    """Return o' = φ·(σ_c/σ)·o + (1 - φ)·o, with standard deviations per row of (B, ...).

    Section 3.4 of "Common Diffusion Noise Schedules and Sample Steps are Flawed",
    arXiv 2305.08891.
    """
    dims = tuple(range(1, guided.ndim))
    ratio = conditional.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True)
    return guidance_rescale * (guided * ratio) + (1 - guidance_rescale) * guided


def guided_prediction(
    denoiser: "Denoiser",
    latents: Tensor,
    timestep: float,
    prompts: "EncodedPrompts",
    guidance_scale: float,
    guidance_rescale: float = 0.0,
) -> Tensor:
    """Return the network's output under guidance, float32, shaped like ``latents`` (B, ...).

    Two evaluations run as one call of 2B rows, the unconditional ones first. ``guidance_rescale``
    applies only where there are two.
    """
    if denoiser.guidance == "embedded":
        inputs = prompts.conditional.with_guidance(guidance_scale)
        return denoiser.predict(latents, timestep, inputs)
    # At these two scales ``combine`` returns one of its inputs, so the other is not evaluated.
    if guidance_scale == 1:
        return denoiser.predict(latents, timestep, prompts.conditional)
    if guidance_scale == 0:
        return denoiser.predict(latents, timestep, prompts.unconditional)
    # Unconditional rows come first, as in the pipelines of diffusers, whose predictions the parity
    # check compares with these.
    both = prompts.unconditional.concat(prompts.conditional)
    output = denoiser.predict(torch.cat([latents, latents]), timestep, both)
    unconditional, conditional = output.chunk(2)
    guided = combine(unconditional, conditional, guidance_scale)
    return rescale(guided, conditional, guidance_rescale) if guidance_rescale else guided
