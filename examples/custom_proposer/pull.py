"""A proposer that moves the noise against the difference that the prompt makes."""

from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.stages.propose import ProposedNoise, Source


class Pull:
    """Subtracts ``strength`` times the difference of the first two predictions."""

    proposals = 1  # golden noises per candidate
    evaluations = 2  # maximum of forward evaluations for all of them, without images

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> list[ProposedNoise]:
        """Return one golden noise of shape (B, C, H, W), rescaled to the norm of its source."""
        timestep = denoiser.schedule(10).timesteps[0]
        with_prompt = denoiser.predict(source.noise, timestep, prompts.conditional)
        without_prompt = denoiser.predict(source.noise, timestep, prompts.unconditional)
        golden = source.noise - self.strength * (with_prompt - without_prompt)
        norms = [x.flatten(1).norm(dim=1) for x in (source.noise, golden)]
        scale = (norms[0] / norms[1]).reshape(-1, *[1] * (golden.ndim - 1))
        return [ProposedNoise.alike(scale * golden, forward_evaluations=2)]
