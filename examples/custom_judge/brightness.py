"""A judge that likes images of a certain brightness."""

import torch


class Brightness:
    """Called with ``device``, ``path`` where the configuration has one, and the options."""

    def __init__(self, device: torch.device, target: float = 0.5) -> None:
        self.device = device
        self.target = target

    def score(self, prompts: list[str], images: torch.Tensor) -> torch.Tensor:
        """Images are uint8 (B, H, W, 3); give one number for each, higher is better.

        NaN means that there is no score: the candidate then counts as failed.
        """
        brightness = images.to(self.device).float().mean(dim=(1, 2, 3)) / 255
        return -(brightness - self.target).abs()
