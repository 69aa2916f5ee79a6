"""HPSv2.1, a CLIP ViT-H/14 tuned on what people preferred: the cosine of prompt and image.

Wu et al., Human Preference Score v2, arXiv 2306.09341; the package ``hpsv2`` is the reference.
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
    """Sizes of the published checkpoint, which carries none."""
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
    """Scores of HPSv2.1, about 0.2 to 0.35; comparable between images of one prompt."""

    kind = "hps_v2"

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        return cls(Clip.load(cls.kind, folder, device, default=vit_h_14(), rename=from_open_clip))

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Cosines of ``images`` (uint8, (B, H, W, 3)) with ``prompts``: float32 (B,) on the CPU."""
        pixels = torch_pixels(images.to(self._clip.device), self._clip.side)
        seen = self._clip.embed_images(pixels)
        read = self._clip.embed_prompts([clean_text(prompt) for prompt in prompts])
        return (seen * read).sum(-1).cpu()
