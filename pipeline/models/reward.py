"""The ``Reward`` protocol, the interface of a preference model.

B batch, H W image height and width in pixels.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Reward(Protocol):
    """Interface of a model that scores images against their prompts. Higher is better."""

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts`` (B of them).

        Returns float32 (B,) on the CPU, computed in one batch, without gradients. Return NaN for a
        score that cannot be computed: the caller records the candidate as failed, with a reason.
        """
        ...
