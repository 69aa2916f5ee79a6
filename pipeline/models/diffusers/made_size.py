"""Check of the size of images and videos, which some pipelines round and only log."""

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


def _allowed_frames(pipe: Any, num_frames: int) -> str:
    """Return the two nearest supported numbers of frames, as text."""
    # The first latent frame decodes to one frame, each further one to ``step`` frames.
    step = pipe.vae_scale_factor_temporal
    below = (num_frames - 1) // step * step + 1
    return f"{below} or {below + step} ({step}·k + 1)"
