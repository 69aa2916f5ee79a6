"""The singular-value branch: the noise's own singular vectors, with other singular values.

B batch, M N rows and columns of a folded noise, K = min(M, N) singular values.

A noise (B, C, H, W) is folded into one matrix, X = U·diag(s)·Vᵀ. A network reads U, s and V and
predicts s'; the branch gives U·diag(s')·Vᵀ, unfolded.

The signs of singular vectors are free (−u and −v will do as well), and libraries and devices
choose differently. The published network reads them as they come, so what it predicts depends on
the linear algebra library. Here the largest entry of every left vector is made positive first.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pipeline.npnet.config import TwoBranchLayout


def fold(noise: Tensor, rows: int, columns: int) -> Tensor:
    """Channels side by side: (B, rows·columns, H, W) to (B, rows·H, columns·W)."""
    batch, _, height, width = noise.shape
    tiles = noise.reshape(batch, rows, columns, height, width)
    return tiles.permute(0, 1, 3, 2, 4).reshape(batch, rows * height, columns * width)


def unfold(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of ``fold``."""
    batch, height, width = matrix.shape
    tiles = matrix.reshape(batch, rows, height // rows, columns, width // columns)
    return tiles.permute(0, 1, 3, 2, 4).reshape(
        batch, rows * columns, height // rows, width // columns
    )


def singular_triplets(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (B, M, K), s (B, K) descending and Vᵀ (B, K, N) of float32 (B, M, N), signs fixed."""
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
        """Each triplet with what it read from the others."""
        batch, count, _ = triplets.shape
        by_head = self.query_key_value(triplets).reshape(batch, count, 3, self.heads, -1)
        query, key, value = by_head.permute(2, 0, 3, 1, 4)
        read = scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out


class SingularValueBranch(nn.Module):
    """Predicts singular values; a new branch gives its input back.

    Computed in float32 whatever autocast says: there is no SVD in half precision, and the sum over
    K triplets must give the noise back.
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
        # As published, the change starts at random, and the first steps only unlearn it.
        for parameter in change.parameters():
            nn.init.zeros_(parameter)
        self.change = nn.Sequential(nn.Linear(values, layout.value_hidden), nn.ReLU(), change)

    def forward(self, noise: Tensor) -> Tensor:
        """(B, C, H, W), float32, for a noise (B, C, H, W)."""
        with torch.autocast(noise.device.type, enabled=False):
            left, values, right = singular_triplets(fold(noise.float(), *self.folding))
            triplets = self.left(left.transpose(1, 2)) + self.right(right)
            triplets = self.attention(triplets + self.values(values).unsqueeze(1))
            predicted = values + self.change(triplets.mean(1))
            return unfold((left * predicted.unsqueeze(1)) @ right, *self.folding)
