"""The LAION aesthetic predictor, which rates how beautiful people find an image. For reports.

It is a linear head on the image vectors of CLIP ViT-L/14 and does not read the prompt. The
reference is christophschuhmann/improved-aesthetic-predictor, with its head for SAC, LOGOS and AVA.
ImageReward has a head of the same layers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from pipeline.core.save_weights import save_weights
from pipeline.models.rewards.clip import Clip, ClipReward
from pipeline.models.rewards.pixels import pillow_pixels
from pipeline.models.rewards.published import AESTHETIC_HEAD, REQUIRED_FILES
from pipeline.models.rewards.weights import fill, read_tensors


class LinearHead(nn.Module):
    """Five linear layers that map features (B, width) to scores (B,), without activations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The identities stand for the dropout of training. They keep the numbers of the layers,
        # and so the published names of the weights.
        self.layers = nn.Sequential(
            *(nn.Linear(width, 1024), nn.Identity()),
            *(nn.Linear(1024, 128), nn.Identity()),
            *(nn.Linear(128, 64), nn.Identity()),
            *(nn.Linear(64, 16), nn.Linear(16, 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Compute the scores of ``features``."""
        scores: Tensor = self.layers(features)
        return scores.squeeze(-1)


class Aesthetic(ClipReward):
    """Aesthetic ratings from about 1 to 10. They are comparable between all images."""

    kind = "aesthetic"

    def __init__(self, clip: Clip, head: LinearHead, device: torch.device) -> None:
        super().__init__(clip)
        self._head = head.to(device)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        clip = Clip.load(cls.kind, folder, device)
        (path,) = REQUIRED_FILES[cls.kind][-1].found_in(folder) or ()
        return cls(clip, fill(lambda: LinearHead(clip.width), read_tensors(path), path), device)

    def save(self, folder: Path) -> None:
        """Write the files that ``load`` reads, as safetensors."""
        super().save(folder)
        weights = {name: tensor.cpu() for name, tensor in self._head.state_dict().items()}
        save_weights(weights, folder / AESTHETIC_HEAD)

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Rate ``images`` (uint8, (B, H, W, 3)). Returns float32 (B,) on the CPU."""
        image_vectors = self._clip.embed_images(pillow_pixels(images, self._clip.side))
        ratings: Tensor = self._head(image_vectors)
        return ratings.cpu()
