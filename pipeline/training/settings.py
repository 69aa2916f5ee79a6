"""How a noise prompt network is trained: every number in one place."""

import math
from typing import Annotated, Literal

from pydantic import Field

from pipeline.records import Record

Positive = Annotated[int, Field(ge=1)]
Precision = Literal["fp32", "bf16", "fp16"]


class TrainingSettings(Record):
    """What decides the weights, beside the pairs. The defaults suit the demo's pairs."""

    steps: Positive = 1200
    """Optimiser steps."""
    batch_size: Positive = 32
    """Pairs in a step, over all processes."""
    learning_rate: Annotated[float, Field(gt=0)] = 1.5e-3
    """Peak of AdamW's rate: a linear rise, then a cosine fall to zero."""
    warmup_steps: Positive = 50
    """Steps of the rise."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decays of the averages of gradients and of their squares."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.03
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Longer gradients are cut to this length."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the running average of the weights, which is what is saved."""
    precision: Precision = "fp32"
    """Type of the activations under autocast; weights and singular values stay float32."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides the first weights and the order of the pairs."""
    min_gain: dict[str, float] = Field(default_factory=dict)
    """By reward, the least golden − source reward of a pair that is trained on."""

    def learning_rate_at(self, step: int) -> float:
        """The rate of step ``step``, counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def ema_decay_at(self, step: int) -> float:
        """The decay after step ``step``: a young average forgets its random start faster."""
        return min(self.ema_decay, (1 + step) / (10 + step))
