"""HPSv2.1, a CLIP ViT-H/14 tuned on human preferences: the cosine of prompt and image.

Wu et al., Human Preference Score v2, arXiv 2306.09341. The reference is the package ``hpsv2``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from transformers import CLIPConfig

from pipeline.models.rewards.clip import Clip, clean_text
from pipeline.models.rewards.clip_judge import ClipJudge
from pipeline.models.rewards.open_clip_layout import from_open_clip
from pipeline.models.rewards.pixels import torch_pixels


def vit_h_14() -> CLIPConfig:
    """Return the configuration of the published checkpoint, which has none."""
    shared = {"hidden_act": "gelu", "projection_dim": 1024, "num_attention_heads": 16}
    return CLIPConfig(
        projection_dim=1024,
        text_config={
            **shared,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
        },
        vision_config={
            **shared,
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "patch_size": 14,
        },
    )


class HpsV2(ClipJudge):
    """Scores of HPSv2.1, about 0.2 to 0.35. They are comparable between images of one prompt."""

    kind = "hps_v2"

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        return cls(Clip.load(cls.kind, folder, device, default=vit_h_14(), rename=from_open_clip))

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts``: float32 (B,) on the CPU."""
        # The authors resize with torch, not with Pillow, so this can run on the GPU.
        pixels = torch_pixels(images.to(self._clip.device), self._clip.side)
        image_vectors = self._clip.embed_images(pixels)
        text_vectors = self._clip.embed_prompts([clean_text(prompt) for prompt in prompts])
        return (image_vectors * text_vectors).sum(-1).cpu()
