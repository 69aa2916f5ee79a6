"""PickScore v1, a CLIP ViT-H/14 tuned on Pick-a-Pic: the scaled cosine of prompt and image.

Kirstain et al., Pick-a-Pic, arXiv 2305.01569; the model card's code is the reference.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.rewards.clip_judge import ClipJudge
from pipeline.models.rewards.pixels import centre_floored, pillow_pixels


class PickScore(ClipJudge):
    """Scores of PickScore v1, about 15 to 27; comparable between images of one prompt."""

    kind = "pick_score"

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Logits of ``images`` (uint8, (B, H, W, 3)) for ``prompts``: float32 (B,) on the CPU."""
        seen = self._clip.embed_images(pillow_pixels(images, self._clip.side, centre_floored))
        read = self._clip.embed_prompts(prompts)
        return (self._clip.scale * (seen * read).sum(-1)).cpu()
