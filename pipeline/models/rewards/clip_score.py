"""CLIPScore, which measures how well an image fits its prompt. For reports.

Hessel et al., arXiv 2104.08718, equation 1: 2.5 · max(cos, 0), without their prefix "A photo
depicts", as in text-to-image papers. The CLIP is not trained on human preferences.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.rewards.clip import clean_text
from pipeline.models.rewards.clip_judge import ClipJudge
from pipeline.models.rewards.pixels import pillow_pixels

_SCALE = 2.5
"""Factor w of equation 1, which scales cosines to about [0, 1]."""


class ClipScore(ClipJudge):
    """CLIPScore, about 0.5 to 1. It accepts the folder of any CLIP of transformers."""

    kind = "clip_score"

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts``: float32 (B,) on the CPU."""
        image_vectors = self._clip.embed_images(pillow_pixels(images, self._clip.side))
        text_vectors = self._clip.embed_prompts([clean_text(prompt) for prompt in prompts])
        return (_SCALE * (image_vectors * text_vectors).sum(-1).clamp(min=0)).cpu()
