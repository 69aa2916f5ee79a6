"""The noise, normalised by its prompt: how text enters the published network. B batch."""

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm

_EPS = 1e-6


class PromptNorm(nn.Module):
    """e = (1 + scale) · (x − mean(x)) / std(x) + shift, with scale and shift from the prompt.

    Mean and deviation are those of one noise, over all of its values. Scale and shift are one
    number a channel, a linear function of the flattened prompt embedding (B, L·D): all that the
    published network is told of a prompt is 2·C numbers.
    """

    def __init__(self, channels: int, prompt_values: int) -> None:
        super().__init__()
        self.linear = nn.Linear(prompt_values, 2 * channels)

    def forward(self, noise: Tensor, prompt_embeds: Tensor) -> Tensor:
        """(B, C, H, W) for a noise (B, C, H, W) and prompt embeddings (B, L, D)."""
        scale, shift = self.linear(prompt_embeds.flatten(1))[:, :, None, None].chunk(2, dim=1)
        # In float32 under autocast too: the sums run over a whole noise.
        with torch.autocast(noise.device.type, enabled=False):
            normalised = group_norm(noise.float(), num_groups=1, eps=_EPS)
        conditioned: Tensor = normalised * (1 + scale) + shift
        return conditioned
