"""Sizes that a pipeline rounds to what it can make, and reports in its log alone."""

from typing import Any

from torch import Tensor

from pipeline.errors import ModelError


def refuse_other_size(
    pipe: Any,
    images: Tensor,
    where: str,
    *,
    height: int | None,
    width: int | None,
    num_frames: int | None,
) -> None:
    """Compare images that a pipeline made, (1, 3, H, W) or (1, F, 3, H, W), with what was asked.

    Raises ``ModelError`` with the sizes that it can make.
    """
    made = tuple(images.shape[-2:])
    asked = (height or made[0], width or made[1])
    if asked != made:
        raise ModelError(
            f"{where}: asked for images of {asked[0]} × {asked[1]} pixels, the model "
            f"makes {made[0]} × {made[1]}: set height and width in [model] to what it makes"
        )
    if num_frames is not None and num_frames != images.shape[1]:
        raise ModelError(
            f"{where}: asked for a film of {num_frames} frames, the model makes "
            f"{images.shape[1]}; set num_frames in [model] to {_allowed_frames(pipe, num_frames)}"
        )


def _allowed_frames(pipe: Any, num_frames: int) -> str:
    """The nearest numbers of frames: one, and one more for each latent frame but the first."""
    step = pipe.vae_scale_factor_temporal
    below = (num_frames - 1) // step * step + 1
    return f"{below} or {below + step} ({step}·k + 1)"
