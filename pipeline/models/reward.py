"""What a preference model must offer to judge images.

B batch, H W image height and width in pixels.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Reward(Protocol):
    """Scores images against their prompts; higher is better."""

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts`` (B of them).

        Returns float32 (B,) on the CPU, computed in one batch, without gradients. A score that
        cannot be given is NaN: the caller turns it into a candidate that failed with a reason.
        """
        ...
