"""Judges of one's own whose mistakes are those of real GPUs."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor


class ReadsBeyond:
    """An index that is not there: the kernel asserts, and the process has lost its GPU.

    Once in a build: ``made`` is a file that says that the mistake was made.
    """

    def __init__(self, device: torch.device, made: str) -> None:
        self._device = device
        self._made = Path(made)

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        if not self._made.exists():
            self._made.touch()
            beyond = torch.full((4,), 1000, device=self._device)
            torch.zeros(4, device=self._device)[beyond].cpu()
        return images.double().mean(dim=(1, 2, 3))


class TakesAll:
    """More memory than any GPU has, always."""

    def __init__(self, device: torch.device, made: str) -> None:
        self._device = device

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        return torch.empty(2**50, dtype=torch.uint8, device=self._device)[: len(prompts)]
