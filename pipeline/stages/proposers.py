"""Proposers of golden noise that ship with the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from pipeline.config.proposers import InversionSettings, RedenoiseSettings, ZigzagSettings
from pipeline.core.identity import seeds_apart, seeds_for
from pipeline.core.records import Candidate
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.guided_step import (
    InversionResult,
    inversion_evaluations,
    invert_steps,
)
from pipeline.diffusion.noise import as_model_input, source_noise, stored
from pipeline.diffusion.redenoise import (
    redenoise,
    redenoise_evaluations,
    zigzag,
    zigzag_evaluations,
)
from pipeline.npnet import NPNet
from pipeline.stages.propose import ProposedNoise, Source


def proposed(result: InversionResult, *, down: int, up: int) -> ProposedNoise:
    """Return the golden noise of an inversion.

    ``down`` is the number of forward evaluations of all denoising steps. ``up`` is the number for
    one iteration of the inversion.
    """
    return ProposedNoise(
        golden_noise=result.latents,
        forward_evaluations=tuple(down + up * count for count in result.iterations.tolist()),
        converged=tuple(result.converged.tolist()),
    )


@dataclass(frozen=True, kw_only=True)
class Redenoise:
    """Proposer that denoises a few steps at high guidance and inverts them at low guidance."""

    proposals: ClassVar[int] = 1
    settings: RedenoiseSettings
    guidance: Guidance
    """Kind of guidance that the model uses."""

    @property
    def evaluations(self) -> int:
        """Maximum number of forward evaluations per candidate. Exact inversion may need fewer."""
        return redenoise_evaluations(self.settings, self.guidance)

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Re-denoise each row."""
        settings, guidance = self.settings, self.guidance
        step_down = forward_evaluations(settings.guidance_scale, guidance)
        return [
            proposed(
                redenoise(denoiser, prompts, source.noise, settings),
                down=settings.rounds * settings.num_steps * step_down,
                up=forward_evaluations(settings.inversion_guidance_scale, guidance),
            )
        ]


@dataclass(frozen=True, kw_only=True)
class Zigzag:
    """Proposer that takes zigzag steps along the start of a schedule and inverts the result."""

    proposals: ClassVar[int] = 1
    settings: ZigzagSettings
    guidance: Guidance
    """Kind of guidance that the model uses."""

    @property
    def evaluations(self) -> int:
        """Maximum number of forward evaluations per candidate. Exact inversion may need fewer."""
        return zigzag_evaluations(self.settings, self.guidance)

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Zigzag each row."""
        settings, guidance = self.settings, self.guidance
        step_down = forward_evaluations(settings.guidance_scale, guidance)
        return [
            proposed(
                zigzag(denoiser, prompts, source.noise, settings),
                down=2 * settings.num_steps * step_down,
                up=forward_evaluations(settings.inversion_guidance_scale, guidance),
            )
        ]


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Proposer that inverts the source image back to noise."""

    proposals: ClassVar[int] = 1
    settings: InversionSettings
    num_inference_steps: int
    """Number of sampling steps of the source image."""
    guidance: Guidance
    """Kind of guidance that the model uses."""

    @property
    def evaluations(self) -> int:
        """Maximum number of forward evaluations per candidate. Exact inversion may need fewer."""
        return self.num_inference_steps * inversion_evaluations(self.settings, self.guidance)

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Invert the source image of each row."""
        assert source.latents is not None, "a build samples source images before it proposes"
        steps = self.num_inference_steps
        schedule = denoiser.schedule(steps)
        up = invert_steps(denoiser, prompts, source.latents, schedule, steps, self.settings)
        scale = self.settings.inversion_guidance_scale
        return [proposed(up, down=0, up=forward_evaluations(scale, self.guidance))]


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """Proposer that draws n noises per candidate, independent of its source noise.

    Drawing a noise needs no forward evaluation. Only its image does.
    """

    name: str
    """Name of the proposer. It enters the seeds, so two proposers of one plan draw other noises."""
    n: int
    root_seed: int
    """Root seed of the plan.

    With ``seeds_per_prompt`` it gives the seeds of the prompt's candidates, which are not drawn.
    """
    seeds_per_prompt: int
    evaluations: int = 0

    @property
    def proposals(self) -> int:
        """Number of golden noises for one candidate."""
        return self.n

    def seeds(self, candidate: Candidate) -> list[int]:
        """Return the n seeds of a candidate. A smaller n gives the first seeds of the same list."""
        # A seed of another candidate would give a pair whose two noises are both source noises.
        taken = seeds_for(self.root_seed, candidate.prompt_id, self.seeds_per_prompt)
        return seeds_apart(f"{self.name}/{candidate.sample_id}", self.n, taken)

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Draw the noises of n seeds, rounded to the stored float16."""
        seeds = [self.seeds(candidate) for candidate in source.candidates]
        shape, device = source.noise.shape[1:], source.noise.device
        return [
            ProposedNoise.alike(
                as_model_input(
                    torch.stack([stored(source_noise(row[index], shape)) for row in seeds])
                ).to(device),
                forward_evaluations=0,
            )
            for index in range(self.n)
        ]


@dataclass(frozen=True, kw_only=True)
class NetworkProposer:
    """Proposer that applies a noise prompt network for one or more rounds.

    A round counts as one forward evaluation of the denoiser. This overstates its cost, because the
    network is far smaller and runs without guidance.
    """

    proposals: ClassVar[int] = 1
    network: NPNet
    rounds: int

    @property
    def evaluations(self) -> int:
        """Number of forward evaluations for one candidate."""
        return self.rounds

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Return golden noise for each row.

        Raises ``ModelError`` if the network belongs to another model.
        """
        golden = source.noise
        for _ in range(self.rounds):
            golden = self.network(golden, prompts.embeds)
        return [ProposedNoise.alike(golden, self.rounds)]
