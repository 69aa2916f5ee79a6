"""Source noise of each candidate, and the golden noise proposed for it. B batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config import RedenoiseConfig
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.noise import as_model_input, source_noise, stored
from pipeline.diffusion.redenoise import RedenoiseSettings, redenoise
from pipeline.models.denoiser import Denoiser, EncodedPrompts
from pipeline.records import Candidate


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Noises as they will be stored, float16 (B, ...) on the CPU."""

    source_noise: Tensor
    golden_noise: Tensor
    converged: tuple[bool, ...]
    """For each candidate, whether its inversion can be trusted."""
    forward_evaluations: int
    """Of one latent each, summed over the batch; exact inversion ends where it converges."""


def draw_source_noise(candidates: Sequence[Candidate], latent_shape: Sequence[int]) -> Tensor:
    """The stored source noises of some candidates, float16 (B, ...) on the CPU."""
    return torch.stack([stored(source_noise(c.seed, latent_shape)) for c in candidates])


def propose(
    denoiser: Denoiser,
    prompts: EncodedPrompts,
    candidates: Sequence[Candidate],
    settings: RedenoiseSettings,
) -> Proposal:
    """Golden noise by re-denoising the stored source noise."""
    source = draw_source_noise(candidates, denoiser.latent_shape)
    result = redenoise(denoiser, prompts, as_model_input(source).to(denoiser.device), settings)
    return Proposal(
        source_noise=source,
        golden_noise=stored(result.golden_noise).cpu(),
        converged=tuple(result.converged.tolist()),
        forward_evaluations=len(candidates)
        * settings.num_steps
        * forward_evaluations(settings.guidance_scale)
        + int(result.iterations.sum()) * forward_evaluations(settings.inversion_guidance_scale),
    )


def redenoise_settings(config: RedenoiseConfig) -> RedenoiseSettings:
    """The configuration's section as the mathematics takes it."""
    return RedenoiseSettings(**config.model_dump())
