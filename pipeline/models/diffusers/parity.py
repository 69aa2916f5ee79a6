"""Checks of a loaded model against its pipeline's call: equal predictions, and images of the size.

The pipeline runs with a scheduler that records the prediction at each step, and we predict from the
same latents. Anything that a pipeline does besides calling its network (a renormalisation after
guidance, a timestep in another type, a second network for some levels) shows as a difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.core.errors import ModelError
from pipeline.diffusion.guidance import guided_prediction
from pipeline.diffusion.noise import source_noise
from pipeline.models.diffusers.families.family import NEGATIVE, Inputs
from pipeline.models.diffusers.recording import RecordingScheduler
from pipeline.models.diffusers.traced_pipeline import TracedPipeline

if TYPE_CHECKING:
    from pipeline.config.proposers import Spacing
    from pipeline.diffusion.denoiser import Denoiser

_PROMPT = "a red apple"
_NUM_STEPS = 4
"""Number of steps of the check. With 4, all spacings have integer timesteps."""
_GUIDANCE_SCALES = (1.0, 3.0)
"""Without guidance, a difference lies in the network's call. With guidance, it may also lie in the
combination of the two predictions."""

_TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 4e-2, torch.float16: 1e-2}
"""Maps the network's type to the largest accepted relative difference. It is a few roundings, which
guidance 3 multiplies by 5."""


def check_parity(
    denoiser: "Denoiser", traced: TracedPipeline, where: str, spacing: "Spacing | None" = None
) -> None:
    """Raise ``ModelError`` if our predictions differ from those of the pipeline's call.

    They are compared at every level of a short run, with guidance and without. ``spacing`` is for
    models whose scheduler leaves the levels of the training (``TrainingSchedule.other_levels``).
    The error names the family, the step and the difference.
    """
    allowed = _TOLERANCES[traced.dtype]
    for deviation in deviations(denoiser, traced, where, spacing):
        # Written as "not <=" so that NaN is rejected too.
        if not deviation.size <= allowed:
            raise ModelError(
                f"{where}: {traced.family.pipeline} does more than call its network: at "
                f"{deviation}, the pipeline's prediction differs from ours by {deviation.size:.2g} "
                f"(allowed: {allowed:g}); pairs of this model would be wrong"
            )


def refuse_other_size(
    pipe: Any,
    images: Tensor,
    where: str,
    *,
    height: int | None,
    width: int | None,
    num_frames: int | None,
) -> None:
    """Raise ``ModelError`` if a pipeline made images of another size than was asked for.

    ``images`` are (1, 3, H, W), or (1, F, 3, H, W) for a video. The error names the sizes that the
    model supports.
    """
    made = tuple(images.shape[-2:])
    asked = (height or made[0], width or made[1])
    if asked != made:
        raise ModelError(
            f"{where}: asked for images of {asked[0]} × {asked[1]} pixels, the model "
            f"makes {made[0]} × {made[1]}: set height and width in [model] to that size"
        )
    if num_frames is not None and num_frames != images.shape[1]:
        raise ModelError(
            f"{where}: asked for a video of {num_frames} frames, the model makes "
            f"{images.shape[1]}; set num_frames in [model] to {_allowed_frames(pipe, num_frames)}"
        )


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Difference between the pipeline's prediction and ours at one step."""

    step: int
    timestep: float
    guidance_scale: float
    size: float
    """Largest absolute difference, divided by the largest absolute output."""

    def __str__(self) -> str:
        return (
            f"step {self.step} of {_NUM_STEPS} (timestep {self.timestep:g}), "
            f"guidance {self.guidance_scale:g}"
        )


def deviations(
    denoiser: "Denoiser", traced: TracedPipeline, where: str, spacing: "Spacing | None" = None
) -> Iterator[Deviation]:
    """Yield the deviation at every level of a short run, without guidance and with it.

    Raises ``ModelError`` for a network whose output has another shape than its latents.
    """
    schedule = denoiser.schedule(_NUM_STEPS, spacing)
    # Independent noise at each level: the result of one step is not needed to test the next.
    visits = [
        source_noise(seed, denoiser.latent_shape)[None].to(traced.device, traced.dtype)
        for seed in range(len(schedule))
    ]
    prompts = denoiser.encode_prompts([_PROMPT])
    for scale in _GUIDANCE_SCALES:
        theirs = _their_outputs(denoiser, traced, visits, schedule.timesteps, scale)
        for step, (latents, expected) in enumerate(zip(visits, theirs, strict=True)):
            timestep = schedule.timesteps[step]
            ours = guided_prediction(denoiser, latents.float(), timestep, prompts, scale)
            if ours.shape != latents.shape:
                raise ModelError(
                    f"{where}: the network of {traced.family.pipeline} maps latents of shape "
                    f"{tuple(latents.shape[1:])} to {tuple(ours.shape[1:])}; inpainting and other "
                    "extended models are not supported"
                )
            yield Deviation(
                step=step,
                timestep=timestep,
                guidance_scale=scale,
                size=_relative_difference(ours, expected.float()),
            )


def _allowed_frames(pipe: Any, num_frames: int) -> str:
    """Return the two nearest supported numbers of frames, as text."""
    # The first latent frame decodes to one frame, each further one to ``step`` frames.
    step = pipe.vae_scale_factor_temporal
    below = (num_frames - 1) // step * step + 1
    return f"{below} or {below + step} ({step}·k + 1)"


def _their_outputs(
    denoiser: "Denoiser",
    traced: TracedPipeline,
    visits: list[Tensor],
    timesteps: Sequence[float],
    scale: float,
) -> list[Tensor]:
    """Return the guided predictions of the pipeline's call at the latents ``visits``."""
    probe = RecordingScheduler(traced.pipe.scheduler, timesteps=timesteps, visits=visits)
    inputs: Inputs = traced.encode(_PROMPT, negative=False)
    if denoiser.guidance == "embedded":
        return traced.outputs(inputs, visits, probe, guidance_scale=scale)
    if scale != 1:
        negative = traced.encode("", negative=True)
        inputs |= {NEGATIVE + name: tensor for name, tensor in negative.items()}
    return traced.outputs(inputs, visits, probe, **{traced.family.guidance_option: scale})


def _relative_difference(ours: Tensor, theirs: Tensor) -> float:
    # Relative to the largest output, because single values may be arbitrarily close to zero. The
    # smallest normal number avoids a division by zero for a network that returns only zeros.
    largest = theirs.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    return float((ours - theirs).abs().max() / largest)
