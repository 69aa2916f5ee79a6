"""Rewards that are the cosine of prompt and image under a CLIP: CLIPScore and PickScore.

CLIPScore: Hessel et al., arXiv 2104.08718, equation 1: 2.5 · max(cos, 0), without their prefix "A
photo depicts", as in text-to-image papers. The CLIP is not trained on human preferences.
PickScore v1: a CLIP ViT-H/14 tuned on Pick-a-Pic. Kirstain et al., Pick-a-Pic, arXiv 2305.01569.
The reference is the code of its model card.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from pipeline.models.rewards.clip import Clip, clean_text
from pipeline.models.rewards.pixels import centre_floored, pillow_pixels

_SCALE = 2.5
"""Factor w of equation 1, which scales cosines to about [0, 1]."""


class ClipReward:
    """Base class of rewards that load a CLIP. Subclasses define ``score``."""

    kind: ClassVar[str]
    """Kind of the reward in a configuration."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        return cls(Clip.load(cls.kind, folder, device))

    def save(self, folder: Path) -> None:
        """Write the files that ``load`` reads, as safetensors."""
        self._clip.save(folder)


class ClipScore(ClipReward):
    """CLIPScore, about 0.5 to 1. It accepts the folder of any CLIP of transformers."""

    kind = "clip_score"

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts``: float32 (B,) on the CPU."""
        image_vectors = self._clip.embed_images(pillow_pixels(images, self._clip.side))
        text_vectors = self._clip.embed_prompts([clean_text(prompt) for prompt in prompts])
        return (_SCALE * (image_vectors * text_vectors).sum(-1).clamp(min=0)).cpu()


class PickScore(ClipReward):
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
