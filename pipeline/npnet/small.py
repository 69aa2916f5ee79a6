"""Small network: convolutions over the noise and attention to the prompt's tokens.

B batch, C channels, H W latent height and width, L tokens, D width of a prompt embedding,
F channels of a feature map.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from pipeline.npnet.config import SmallLayout


class TokenAttention(nn.Module):
    """Attention from each position of a feature map to the tokens of the prompt."""

    def __init__(self, width: int, prompt_width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, width)
        self.query = nn.Conv2d(width, width, 1)
        self.key_value = nn.Linear(prompt_width, 2 * width)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return (B, F, H, W) for ``features`` (B, F, H, W) and ``tokens`` (B, L, D)."""
        query = self._by_head(self.query(self.norm(features)).flatten(2).transpose(1, 2))
        key, value = (self._by_head(half) for half in self.key_value(tokens).chunk(2, dim=-1))
        read = scaled_dot_product_attention(query, key, value)
        places = read.transpose(1, 2).flatten(2).transpose(1, 2)
        out: Tensor = self.out(places.reshape(features.shape))
        return out

    def _by_head(self, rows: Tensor) -> Tensor:
        """Split (B, rows, F) into heads: (B, heads, rows, F / heads)."""
        batch, count, _ = rows.shape
        return rows.reshape(batch, count, self.heads, -1).transpose(1, 2)


class ConvBlock(nn.Module):
    """Residual block: two convolutions with the prompt's scale and shift (FiLM), then attention.

    The last layers of both residual paths start at zero, so a new block returns its input.
    """

    def __init__(self, layout: SmallLayout) -> None:
        super().__init__()
        width, groups = layout.width, layout.groups
        self.norm_in = nn.GroupNorm(groups, width)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.norm_out = nn.GroupNorm(groups, width)
        self.film = nn.Linear(layout.prompt_width, 2 * width)
        self.dropout = nn.Dropout(layout.dropout)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        self.attention = TokenAttention(width, layout.prompt_width, layout.heads, groups)

    def forward(self, features: Tensor, pooled: Tensor, tokens: Tensor) -> Tensor:
        """Return (B, F, H, W) for features, pooled prompt (B, D) and tokens (B, L, D)."""
        scale, shift = self.film(pooled)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm_out(self.conv_in(silu(self.norm_in(features))))
        features = features + self.conv_out(self.dropout(silu(hidden * (1 + scale) + shift)))
        attended: Tensor = features + self.attention(features, tokens)
        return attended


class SmallNetwork(nn.Module):
    """Predicts the residual golden − source in units of its standard deviation; zero when new."""

    def __init__(self, layout: SmallLayout) -> None:
        super().__init__()
        channels, height, width = layout.latent_shape
        self.stem = nn.Conv2d(channels, layout.width, 3, padding=1)
        self.places = nn.Parameter(0.02 * torch.randn(layout.width, height, width))
        self.pool = nn.Sequential(
            nn.LayerNorm(layout.prompt_width),
            nn.Linear(layout.prompt_width, layout.prompt_width),
            nn.SiLU(),
        )
        self.token_norm = nn.LayerNorm(layout.prompt_width)
        self.blocks = nn.ModuleList(ConvBlock(layout) for _ in range(layout.blocks))
        self.norm = nn.GroupNorm(layout.groups, layout.width)
        self.out = nn.Conv2d(layout.width, channels, 3, padding=1)
        # A new network must return its input, so it starts with a residual of zero.
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, noise: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Return (B, C, H, W) for a noise (B, C, H, W) and prompt embeddings (B, L, D)."""
        pooled, tokens = self.pool(prompt_embeds.mean(1)), self.token_norm(prompt_embeds)
        features = self.stem(noise) + self.places
        for block in self.blocks:
            features = block(features, pooled, tokens)
        residual: Tensor = self.out(silu(self.norm(features)))
        return residual
