"""Golden noise by inverting the source image as a whole, at a low guidance scale.

Down all steps of ``[sampling]`` at its scale, which the source image has paid for, and all of them
up at ω_w: re-denoising with k = N. Up is DDIM or Euler, also where images are sampled with the
scheduler that a model came with.
"""

from collections.abc import Sequence

from pipeline.config.proposers import TrajectoryProposer
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts, Guidance
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.guided_step import InversionSettings, inversion_evaluations, invert_steps
from pipeline.stages.propose import ProposedNoise, Source
from pipeline.stages.proposers.inverted import proposed


class Trajectory:
    """The way of an image back to noise."""

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
        """The configuration's section as a proposer; ``num_inference_steps`` are the image's."""
        settings = InversionSettings(**config.model_dump(exclude={"kind", "name"}))
        return cls(settings, num_inference_steps, guidance)

    @property
    def evaluations(self) -> int:
        """Forward evaluations for one candidate, at most: exact inversion may end earlier."""
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
