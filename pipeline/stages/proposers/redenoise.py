"""Golden noise by re-denoising, the method of the paper."""

from collections.abc import Sequence

from pipeline.config.proposers import RedenoiseConfig
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.redenoise import RedenoiseSettings, redenoise, redenoise_evaluations
from pipeline.stages.propose import ProposedNoise, Source
from pipeline.stages.proposers.inverted import proposed


class Redenoise:
    """Proposer that denoises a few steps at high guidance and inverts them at low guidance."""

    proposals = 1

    def __init__(self, settings: RedenoiseSettings, guidance: Guidance) -> None:
        self._settings = settings
        self._guidance = guidance

    @classmethod
    def of(cls, config: RedenoiseConfig, guidance: Guidance) -> "Redenoise":
        """Create the proposer from its configuration, for a kind of guidance."""
        settings = RedenoiseSettings(**config.model_dump(include={*RedenoiseConfig.model_fields}))
        return cls(settings, guidance)

    @property
    def evaluations(self) -> int:
        """Maximum number of forward evaluations per candidate. Exact inversion may need fewer."""
        return redenoise_evaluations(self._settings, self._guidance)

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Re-denoise each row."""
        settings, guidance = self._settings, self._guidance
        step_down = forward_evaluations(settings.guidance_scale, guidance)
        return [
            proposed(
                redenoise(denoiser, prompts, source.noise, settings),
                down=settings.rounds * settings.num_steps * step_down,
                up=forward_evaluations(settings.inversion_guidance_scale, guidance),
            )
        ]
