"""Running average of the weights of a network in training; the average is what is saved."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def running_average(
    network: nn.Module, decay: float, device: torch.device | None = None
) -> AveragedModel:
    """Return an average that starts at the weights of ``network``; its ``module`` is a copy.

    ``update_parameters(network)`` moves it after each step. The decay of update n, counted from 1,
    is min(``decay``, n / (n + 9)), so that the random first weights are forgotten faster.
    """

    def update(
        averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int
    ) -> None:
        updates = int(num_averaged)
        weight = 1.0 - min(decay, updates / (updates + 9))
        for slow, fast in zip(averaged, current, strict=True):
            slow.lerp_(fast, weight)

    # diffusers' EMAModel is not used: the decay of its first update is 0 where this one is 0.1,
    # and it holds parameters without a network that could be measured and saved.
    average = AveragedModel(network, device, multi_avg_fn=update)
    # The first update of an AveragedModel copies the weights and does not use the decay.
    average.update_parameters(network)
    return average.requires_grad_(False).eval()
