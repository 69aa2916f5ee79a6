"""Golden noise chosen from random noises (best of n), the baseline of the other proposers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.diffusion.noise import as_model_input, source_noise, stored
from pipeline.identity import seeds_apart, seeds_for
from pipeline.records import Candidate
from pipeline.stages.propose import ProposedNoise, Source


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
