"""The published NPNet (arXiv 2411.09502): singular values and a residual.

    e      = PromptNorm(x_T, c)
    x'_T   = SingularValueBranch(x_T) + (2·sigmoid(α) − 1)·e + β·ResidualBranch(x_T + e)

α and β are learned and start at 0, and the first branch starts as the identity: a new network
leaves the noise as it is.
"""

import torch
from torch import Tensor, nn

from pipeline.npnet.config import TwoBranchLayout
from pipeline.npnet.prompt_norm import PromptNorm
from pipeline.npnet.residual import ResidualBranch
from pipeline.npnet.singular_values import SingularValueBranch


class TwoBranchNetwork(nn.Module):
    """Predicts the golden noise."""

    def __init__(self, layout: TwoBranchLayout) -> None:
        super().__init__()
        tokens, width = layout.prompt_shape
        self.prompt_norm = PromptNorm(layout.latent_shape[0], tokens * width)
        self.singular_values = SingularValueBranch(layout)
        self.residual = ResidualBranch(layout)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, noise: Tensor, prompt_embeds: Tensor) -> Tensor:
        """(B, C, H, W) for a noise (B, C, H, W) and prompt embeddings (B, L, D)."""
        normalised = self.prompt_norm(noise, prompt_embeds)
        golden: Tensor = (
            self.singular_values(noise)
            + (2 * torch.sigmoid(self.alpha) - 1) * normalised
            + self.beta * self.residual(noise + normalised)
        )
        return golden
