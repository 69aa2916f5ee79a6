"""PickScore v1, a CLIP ViT-H/14 tuned on Pick-a-Pic: the scaled cosine of prompt and image.

Kirstain et al., Pick-a-Pic, arXiv 2305.01569. The reference is the code of its model card.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.rewards.clip_judge import ClipJudge
from pipeline.models.rewards.pixels import centre_floored, pillow_pixels


class PickScore(ClipJudge):
    """Scores of PickScore v1, about 15 to 27. They are comparable between images of one prompt."""

    kind = "pick_score"

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts``: float32 (B,) on the CPU."""
        pixels = pillow_pixels(images, self._clip.side, centre_floored)
        image_vectors = self._clip.embed_images(pixels)
        # The reference uses the tokenizer of transformers, so prompts are not cleaned first.
        text_vectors = self._clip.embed_prompts(prompts)
        return (self._clip.scale * (image_vectors * text_vectors).sum(-1)).cpu()
