"""Source noise of each candidate, and the golden noise proposed for it. B batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.config import RedenoiseConfig
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.noise import as_model_input, source_noise, stored
from pipeline.diffusion.redenoise import RedenoiseSettings, redenoise, redenoise_evaluations
from pipeline.models.denoiser import Denoiser, EncodedPrompts, Guidance
from pipeline.records import Candidate


@dataclass(frozen=True, kw_only=True)
class ProposedNoise:
    """What a proposer makes of a batch of source noises."""

    golden_noise: Tensor
    """float32 (B, ...), on the denoiser's device."""
    converged: tuple[bool, ...]
    """For each row, whether its golden noise can be trusted."""
    forward_evaluations: int
    """Of one latent each, summed over the batch."""


class Proposer(Protocol):
    """A way from source noise to golden noise."""

    @property
    def evaluations(self) -> int:
        """Forward evaluations for one candidate, at most."""
        ...

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source_noise: Tensor
    ) -> ProposedNoise:
        """Golden noise for each row of ``source_noise``, float32 (B, ...).

        A row's result depends on its own noise and prompt alone.
        """
        ...


class Redenoise:
    """The method of the paper: down a few steps at high guidance, back at low guidance."""

    def __init__(self, settings: RedenoiseSettings, guidance: Guidance) -> None:
        self._settings = settings
        self._guidance = guidance

    @classmethod
    def of(cls, config: RedenoiseConfig, guidance: Guidance) -> "Redenoise":
        """The configuration's section as a proposer, for a model that is guided so."""
        return cls(RedenoiseSettings(**config.model_dump()), guidance)

    @property
    def evaluations(self) -> int:
        """Forward evaluations for one candidate, at most: exact inversion may end earlier."""
        return redenoise_evaluations(self._settings, self._guidance)

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source_noise: Tensor
    ) -> ProposedNoise:
        """Re-denoise each row of ``source_noise``, float32 (B, ...)."""
        settings = self._settings
        result = redenoise(denoiser, prompts, source_noise, settings)
        down = settings.num_steps * forward_evaluations(settings.guidance_scale, self._guidance)
        back = int(result.iterations.sum()) * forward_evaluations(
            settings.inversion_guidance_scale, self._guidance
        )
        return ProposedNoise(
            golden_noise=result.golden_noise,
            converged=tuple(result.converged.tolist()),
            forward_evaluations=len(source_noise) * down + back,
        )


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Noises as they will be stored, float16 (B, ...) on the CPU."""

    source_noise: Tensor
    golden_noise: Tensor
    converged: tuple[bool, ...]
    """For each candidate, whether its golden noise can be trusted."""
    forward_evaluations: int
    """Of one latent each, summed over the batch; exact inversion ends where it converges."""


def draw_source_noise(candidates: Sequence[Candidate], latent_shape: Sequence[int]) -> Tensor:
    """The stored source noises of some candidates, float16 (B, ...) on the CPU."""
    return torch.stack([stored(source_noise(c.seed, latent_shape)) for c in candidates])


def propose(
    proposer: Proposer,
    denoiser: Denoiser,
    prompts: EncodedPrompts,
    candidates: Sequence[Candidate],
) -> Proposal:
    """Golden noise for the stored source noise of each candidate."""
    source = draw_source_noise(candidates, denoiser.latent_shape)
    proposed = proposer.propose(denoiser, prompts, as_model_input(source).to(denoiser.device))
    return Proposal(
        source_noise=source,
        golden_noise=stored(proposed.golden_noise).cpu(),
        converged=proposed.converged,
        forward_evaluations=proposed.forward_evaluations,
    )
