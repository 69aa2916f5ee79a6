"""Judge of the monitoring tests, which prefers golden images until a file exists.

A worker loads this file as custom code.
"""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor


class SwitchedJudge:
    """Scores source images with 0, and golden images with 1 or, once the file exists, with −1."""

    def __init__(self, device: torch.device, switch: str) -> None:
        self._switch = Path(switch)
        # A batch with one proposer is scored twice: first its source images.
        self._is_golden = cycle((False, True))

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        golden = -1.0 if self._switch.exists() else 1.0
        return torch.full((len(prompts),), golden if next(self._is_golden) else 0.0)
