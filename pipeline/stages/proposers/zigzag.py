"""Golden noise by zigzag steps (Z-Sampling): denoise, invert and denoise each step again."""

from collections.abc import Sequence

from pipeline.config.proposers import ZigzagProposer
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.redenoise import StepsSettings
from pipeline.diffusion.zigzag import zigzag, zigzag_evaluations
from pipeline.stages.propose import ProposedNoise, Source
from pipeline.stages.proposers.inverted import proposed


class Zigzag:
    """Proposer that takes zigzag steps along the start of a schedule and inverts the result."""

    proposals = 1

    def __init__(self, settings: StepsSettings, guidance: Guidance) -> None:
        self._settings = settings
        self._guidance = guidance

    @classmethod
    def of(cls, config: ZigzagProposer, guidance: Guidance) -> "Zigzag":
        """Create the proposer from its configuration, for a kind of guidance."""
        return cls(StepsSettings(**config.model_dump(exclude={"kind", "name"})), guidance)

    @property
    def evaluations(self) -> int:
        """Maximum number of forward evaluations per candidate. Exact inversion may need fewer."""
        return zigzag_evaluations(self._settings, self._guidance)

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Zigzag each row."""
        settings, guidance = self._settings, self._guidance
        step_down = forward_evaluations(settings.guidance_scale, guidance)
        return [
            proposed(
                zigzag(denoiser, prompts, source.noise, settings),
                down=2 * settings.num_steps * step_down,
                up=forward_evaluations(settings.inversion_guidance_scale, guidance),
            )
        ]
