"""How much of the residual golden − source a network explains: a cheap stand-in for its gain.

1 − Σ‖golden − predicted‖² / Σ‖golden − source‖²: 0 for leaving the noise as it is, 1 for the golden
noise itself. It ranks networks as the gain in reward does, without sampling one image.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from pipeline.npnet.network import NPNet
from pipeline.training.data import PairBatch, PromptEncoder


def variance_explained(npnet: NPNet, batches: Iterable[PairBatch], encode: PromptEncoder) -> float:
    """The share over all pairs of some batches."""
    normalized_mse, total = squares(npnet, batches, encode).tolist()
    return float(1 - normalized_mse / total)


@torch.no_grad()
def squares(npnet: NPNet, batches: Iterable[PairBatch], encode: PromptEncoder) -> Tensor:
    """(Σ‖golden − predicted‖², Σ‖golden − source‖²), float64 on the CPU."""
    device = npnet.residual_std.device
    sums = torch.zeros(2, dtype=torch.float64)
    for batch in batches:
        source, golden = batch.source_noise.to(device), batch.golden_noise.to(device)
        predicted = npnet(source, encode(batch.prompts).to(device))
        sums[0] += (golden - predicted).double().square().sum().cpu()
        sums[1] += (golden - source).double().square().sum().cpu()
    return sums


def residual_std(batches: Iterable[PairBatch]) -> Tensor:
    """Root mean square of golden − source over all values of some batches: float32 ()."""
    squared = torch.zeros((), dtype=torch.float64)
    count = 0
    for batch in batches:
        residual = (batch.golden_noise - batch.source_noise).double()
        squared += residual.square().sum()
        count += residual.numel()
    return (squared / count).sqrt().float()
