"""Random noises as golden noise: the baseline of every other proposer, and a way to build a set."""

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
    """Draws n noises for each candidate that have nothing to do with its source noise.

    Making them takes no evaluation; their images do.
    """

    name: str
    """Two of them in one plan draw other noises."""
    n: int
    root_seed: int
    """Of the plan, with ``seeds_per_prompt``: the seeds that candidates have are not drawn."""
    seeds_per_prompt: int
    evaluations: int = 0

    @property
    def proposals(self) -> int:
        """Golden noises for one candidate."""
        return self.n

    def seeds(self, candidate: Candidate) -> list[int]:
        """The seeds of a candidate's n noises; a smaller n has the first of them."""
        taken = seeds_for(self.root_seed, candidate.prompt_id, self.seeds_per_prompt)
        return seeds_apart(f"{self.name}/{candidate.sample_id}", self.n, taken)

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """The noises of n seeds, rounded as they are stored."""
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
