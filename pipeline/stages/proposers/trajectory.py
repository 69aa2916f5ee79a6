"""Golden noise by inverting all sampling steps of the source image at a low guidance scale.

This is re-denoising with k = N. The denoising steps are those of ``[sampling]`` at its guidance
scale, and the source image has already paid for them. The inversion runs at ω_w. It uses DDIM or
Euler, even if images are sampled with the scheduler of the model.
"""

from collections.abc import Sequence

from pipeline.config.proposers import TrajectoryProposer
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.guided_step import InversionSettings, inversion_evaluations, invert_steps
from pipeline.stages.propose import ProposedNoise, Source
from pipeline.stages.proposers.inverted import proposed


class Trajectory:
    """Proposer that inverts the source image back to noise."""

    proposals = 1

    def __init__(
        self, settings: InversionSettings, num_inference_steps: int, guidance: Guidance
    ) -> None:
        self._settings = settings
        self._num_inference_steps = num_inference_steps
        self._guidance = guidance

    @classmethod
    def of(
        cls, config: TrajectoryProposer, num_inference_steps: int, guidance: Guidance
    ) -> "Trajectory":
        """Create the proposer from its configuration.

        ``num_inference_steps`` is the number of sampling steps of the source image.
        """
        settings = InversionSettings(**config.model_dump(exclude={"kind", "name"}))
        return cls(settings, num_inference_steps, guidance)

    @property
    def evaluations(self) -> int:
        """Maximum number of forward evaluations per candidate. Exact inversion may need fewer."""
        return self._num_inference_steps * inversion_evaluations(self._settings, self._guidance)

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        """Invert the source image of each row."""
        assert source.latents is not None, "a build samples source images before it proposes"
        steps = self._num_inference_steps
        schedule = denoiser.schedule(steps)
        up = invert_steps(denoiser, prompts, source.latents, schedule, steps, self._settings)
        scale = self._settings.inversion_guidance_scale
        return [proposed(up, down=0, up=forward_evaluations(scale, self._guidance))]
