"""CLIPScore, for reports: how well an image fits its prompt, by an untuned CLIP.

Hessel et al., arXiv 2104.08718, equation 1: 2.5 · max(cos, 0), without their prefix "A photo
depicts", as text-to-image papers have it. It was not trained on what people prefer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.rewards.clip import clean_text
from pipeline.models.rewards.clip_judge import ClipJudge
from pipeline.models.rewards.pixels import pillow_pixels

_SCALE = 2.5
"""w of equation 1, which spreads cosines over about [0, 1]."""


class ClipScore(ClipJudge):
    """CLIPScore, about 0.5 to 1; a folder with any CLIP of transformers will do."""

    kind = "clip_score"

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Fit of ``images`` (uint8, (B, H, W, 3)) to ``prompts``: float32 (B,) on the CPU."""
        seen = self._clip.embed_images(pillow_pixels(images, self._clip.side))
        read = self._clip.embed_prompts([clean_text(prompt) for prompt in prompts])
        return (_SCALE * (seen * read).sum(-1).clamp(min=0)).cpu()
