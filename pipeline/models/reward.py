"""The ``Reward`` protocol, the interface of a preference model, and the precision of scores.

B batch, H W image height and width in pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor


class Reward(Protocol):
    """Interface of a model that scores images against their prompts. Higher is better."""

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts`` (B of them).

        Returns float32 (B,) on the CPU, computed in one batch, without gradients. Return NaN for a
        score that cannot be computed: the caller records the candidate as failed, with a reason.
        """
        ...


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute convolutions in full float32. Use it as a context manager or as a decorator."""
    # TF32 keeps 10 bits. On an H200 it moved reward scores by up to 6e-4, as much as half precision
    # would, and smaller differences can decide a pair. Matrix products need no setting: torch
    # computes them in float32 by default.
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
