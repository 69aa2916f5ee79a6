"""Custom judges that cause real GPU errors."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor


class ReadsBeyond:
    """Index out of range: the kernel asserts, and the process can no longer use its GPU.

    It happens once in a build. The file ``made`` records it.
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
    """Allocation of more memory than any GPU has, in every call."""

    def __init__(self, device: torch.device, made: str) -> None:
        self._device = device

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        return torch.empty(2**50, dtype=torch.uint8, device=self._device)[: len(prompts)]
