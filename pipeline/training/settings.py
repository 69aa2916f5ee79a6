"""Settings of the training of a noise prompt network."""

import math
from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.records import Record

Positive = Annotated[int, Field(ge=1)]
Precision = Literal["fp32", "bf16", "fp16"]


class TrainingSettings(Record):
    """All settings that, with the pairs, decide the weights. The defaults suit the demo's pairs."""

    steps: Positive = 1200
    """Number of optimiser steps."""
    batch_size: Positive = 32
    """Number of pairs per step, over all processes."""
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    """Peak learning rate of AdamW: a linear warm-up, then a cosine decay to zero."""
    warmup_steps: Positive = 50
    """Number of steps of the warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates of the averages of gradients and of their squares."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.03
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Norm to which longer gradients are clipped."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the running average of the weights. The average is saved."""
    precision: Precision = "fp32"
    """Type of the activations under autocast. Weights and singular values stay float32."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the initial weights and of the order of the pairs."""
    min_gain: dict[str, float] = Field(default_factory=dict)
    """Maps a reward to the minimum gain (golden − source) of a training pair."""

    def learning_rate_factor(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 0, as a share of the peak."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        return rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))
