"""The published NPNet (arXiv 2411.09502): a singular-value branch and a residual branch.

    e      = PromptNorm(x_T, c)
    x'_T   = SingularValueBranch(x_T) + (2·sigmoid(α) − 1)·e + β·ResidualBranch(x_T + e)

α and β are learned and start at 0, and the first branch starts as the identity, so a new network
returns its input.

B batch, C channels, H W height and width of a noise, L tokens of D values in a prompt embedding,
M N rows and columns of a folded noise, K = min(M, N) singular values.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, interpolate, pixel_shuffle, scaled_dot_product_attention

from pipeline.npnet.config import TwoBranchLayout

_EPS = 1e-6


class PromptNorm(nn.Module):
    """Normalisation of the noise, scaled and shifted by the prompt: how text enters the network.

    e = (1 + scale) · (x − mean(x)) / std(x) + shift. Mean and standard deviation are taken over all
    values of one noise. Scale and shift are one number per channel, a linear function of the
    flattened prompt embedding (B, L·D). The published network therefore receives only 2·C numbers
    from a prompt.
    """

    def __init__(self, channels: int, prompt_values: int) -> None:
        super().__init__()
        self.linear = nn.Linear(prompt_values, 2 * channels)

    def forward(self, noise: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Return (B, C, H, W) for a noise (B, C, H, W) and prompt embeddings (B, L, D)."""
        scale, shift = self.linear(prompt_embeds.flatten(1))[:, :, None, None].chunk(2, dim=1)
        # The sums run over all values of a noise, which is too many for half precision.
        with torch.autocast(noise.device.type, enabled=False):
            normalised = group_norm(noise.float(), num_groups=1, eps=_EPS)
        conditioned: Tensor = normalised * (1 + scale) + shift
        return conditioned


def fold(noise: Tensor, rows: int, columns: int) -> Tensor:
    """Lay channels side by side: (B, rows·columns, H, W) to (B, rows·H, columns·W)."""
    batch, _, height, width = noise.shape
    tiles = noise.reshape(batch, rows, columns, height, width)
    return tiles.permute(0, 1, 3, 2, 4).reshape(batch, rows * height, columns * width)


def unfold(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """Invert ``fold``."""
    batch, height, width = matrix.shape
    tiles = matrix.reshape(batch, rows, height // rows, columns, width // columns)
    return tiles.permute(0, 1, 3, 2, 4).reshape(
        batch, rows * columns, height // rows, width // columns
    )


def singular_triplets(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return U (B, M, K), s (B, K) descending and Vᵀ (B, K, N) of float32 (B, M, N).

    The largest entry of each left vector is positive.
    """
    # Singular vectors are defined up to a sign (−u and −v are valid as well), and libraries and
    # devices choose differently. The published network reads them unchanged, so its output depends
    # on the linear algebra library.
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    largest = left.gather(1, left.abs().argmax(dim=1, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0).to(left)
    return left * signs, values, right * signs.transpose(1, 2)


class TripletAttention(nn.Module):
    """Self-attention between the K triplets of a noise, (B, K, K) to (B, K, K)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, triplets: Tensor) -> Tensor:
        """Return triplets that have attended to each other."""
        batch, count, _ = triplets.shape
        by_head = self.query_key_value(triplets).reshape(batch, count, 3, self.heads, -1)
        query, key, value = by_head.permute(2, 0, 3, 1, 4)
        read = scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out


class SingularValueBranch(nn.Module):
    """Replaces the singular values of a noise and keeps its singular vectors.

    A noise (B, C, H, W) is folded into one matrix X = U·diag(s)·Vᵀ. A network reads U, s and V and
    predicts s'. The branch returns U·diag(s')·Vᵀ, unfolded. A new branch returns its input.
    """

    def __init__(self, layout: TwoBranchLayout) -> None:
        super().__init__()
        self.folding = layout.folding
        (rows, columns), values = layout.folded_shape, layout.num_values
        hidden = layout.vector_hidden
        self.left = nn.Sequential(nn.Linear(rows, hidden), nn.ReLU(), nn.Linear(hidden, values))
        self.right = nn.Sequential(nn.Linear(columns, hidden), nn.ReLU(), nn.Linear(hidden, values))
        self.values = nn.Linear(values, values)
        self.attention = TripletAttention(values, layout.attention_heads)
        change = nn.Linear(layout.value_hidden, values)
        # The published code starts with random weights here; the first steps only undo them.
        for parameter in change.parameters():
            nn.init.zeros_(parameter)
        self.change = nn.Sequential(nn.Linear(values, layout.value_hidden), nn.ReLU(), change)

    def forward(self, noise: Tensor) -> Tensor:
        """Return float32 (B, C, H, W) for a noise (B, C, H, W)."""
        # torch has no SVD in half precision, and the sum over K triplets must restore the noise.
        with torch.autocast(noise.device.type, enabled=False):
            left, values, right = singular_triplets(fold(noise.float(), *self.folding))
            triplets = self.left(left.transpose(1, 2)) + self.right(right)
            triplets = self.attention(triplets + self.values(values).unsqueeze(1))
            predicted = values + self.change(triplets.mean(1))
            return unfold((left * predicted.unsqueeze(1)) @ right, *self.folding)


class ResidualBranch(nn.Module):
    """Swin transformer over the resized noise; predicts a residual (B, C, H, W).

    It differs from the published code in two ways. The published code reads the last features
    (B, 7, 7, 768) as seven channels of 7 × 768 pixels, so rows of the picture become channels and
    features become columns. Here the features of each token become the pixels at its position. The
    published Swin starts from weights trained on photographs; this one starts from random weights.
    """

    def __init__(self, layout: TwoBranchLayout) -> None:
        super().__init__()
        # transformers takes seconds to import, and this module is also imported where no network
        # is built.
        from transformers import SwinConfig, SwinModel

        channels, height, width = layout.latent_shape
        swin = layout.swin
        self.size = (height, width)
        self.image_size = swin.image_size
        self.pixels_per_token = swin.pixels_per_token
        self.tokens = swin.image_size // swin.patch_size // 2 ** (len(swin.depths) - 1)
        self.to_colours = nn.Conv2d(channels, 3, 1)
        self.swin = SwinModel(
            SwinConfig(
                image_size=swin.image_size,
                patch_size=swin.patch_size,
                window_size=swin.window_size,
                embed_dim=swin.embed_dim,
                depths=list(swin.depths),
                num_heads=list(swin.num_heads),
                # A dropped path would remove part of the residual, and it would be drawn from
                # torch's global generator.
                drop_path_rate=0.0,
            ),
            add_pooling_layer=False,
        )
        features = swin.embed_dim * 2 ** (len(swin.depths) - 1)
        self.to_pixels = nn.Conv2d(features, channels * swin.pixels_per_token**2, 1)

    def forward(self, noise: Tensor) -> Tensor:
        """Return the residual of a noise (B, C, H, W)."""
        resized = interpolate(noise, (self.image_size, self.image_size), mode="nearest")
        tokens = self.swin(self.to_colours(resized)).last_hidden_state
        features = tokens.transpose(1, 2).reshape(len(noise), -1, self.tokens, self.tokens)
        pixels = pixel_shuffle(self.to_pixels(features), self.pixels_per_token)
        return interpolate(pixels.float(), self.size, mode="bilinear", align_corners=False)


class TwoBranchNetwork(nn.Module):
    """Network of the published layout; predicts the golden noise."""

    def __init__(self, layout: TwoBranchLayout) -> None:
        super().__init__()
        tokens, width = layout.prompt_shape
        self.prompt_norm = PromptNorm(layout.latent_shape[0], tokens * width)
        self.singular_values = SingularValueBranch(layout)
        self.residual = ResidualBranch(layout)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, noise: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Return golden noise (B, C, H, W) for noise (B, C, H, W) and embeddings (B, L, D)."""
        normalised = self.prompt_norm(noise, prompt_embeds)
        golden: Tensor = (
            self.singular_values(noise)
            + (2 * torch.sigmoid(self.alpha) - 1) * normalised
            + self.beta * self.residual(noise + normalised)
        )
        return golden
