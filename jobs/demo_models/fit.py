"""Training loop of all stages of the demo models, and its settings.

The random numbers of a stage are a function of (seed, stage, step), never of a generator's
history. An interrupted run therefore resumes to the same weights as an undisturbed one.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from pipeline.core.save_weights import save_weights
from pipeline.storage.durable import whole_file
from pipeline.training.average import running_average
from pipeline.training.checkpoint import Stateful, load_checkpoint, save_checkpoint


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """Length, batch size, learning rate and weight average of one training stage."""

    steps: int
    """Number of optimiser steps."""
    batch_size: int
    """Number of pictures per step."""
    learning_rate: float
    """Peak learning rate of AdamW."""
    falling: float
    """Share of the steps, at the end, in which the rate falls to zero along a cosine."""
    warmup: int = 50
    """Number of steps in which the rate rises from zero."""
    ema_decay: float | None = None
    """Decay of the running average of the weights; None keeps the last weights."""
    lengthened: tuple[tuple[int, int], ...] = ()
    """Pairs (step, length): up to that step, the rate was that of a run of that length."""

    def planned_steps(self, step: int) -> int:
        """Return the length that was planned for the run when it took ``step``."""
        return next((length for until, length in self.lengthened if step < until), self.steps)


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """All settings that decide the weights of the demo models, except the seed."""

    pool_size: int = 40_000
    """Number of rendered training pictures."""
    vae: StageSettings = StageSettings(steps=1200, batch_size=16, learning_rate=2.5e-3, falling=1.0)
    """Settings of encoder and decoder together."""
    decoder: StageSettings = StageSettings(
        steps=2600, batch_size=16, learning_rate=2e-3, falling=1.0, ema_decay=0.99
    )
    """Settings of the decoder alone, on the frozen encoder's latents."""
    diffusion: StageSettings = StageSettings(
        steps=4400,
        batch_size=40,
        learning_rate=8e-4,
        falling=0.4,
        ema_decay=0.998,
        # The run of the shipped weights was lengthened twice while it ran.
        lengthened=((2000, 3200), (3000, 3800)),
    )
    """Settings of UNet and text encoder together."""
    reward: StageSettings = StageSettings(
        steps=1500, batch_size=48, learning_rate=1e-3, falling=0.6, ema_decay=0.99
    )
    """Settings of the preference model."""
    evaluation_size: int = 256
    """Number of prompts in the final evaluation."""

    def quick(self) -> "DemoSettings":
        """Return settings for a smoke test: every stage runs for seconds and learns nothing."""

        def short(schedule: StageSettings) -> StageSettings:
            return replace(schedule, steps=2, batch_size=4, warmup=1)

        return replace(
            self,
            pool_size=64,
            vae=short(self.vae),
            decoder=short(self.decoder),
            diffusion=short(self.diffusion),
            reward=short(self.reward),
            evaluation_size=4,
        )


CHECKPOINT_EVERY = 250
"""Number of steps between checkpoints."""

StageCallback = Callable[[str, int, int, float], None]
"""Callback that receives (stage, step, steps, loss) after every step."""


class Draws:
    """Random generators of one step: numpy for choices, torch for noise."""

    def __init__(self, seed: int, stage: str, step: int) -> None:
        entropy = [seed, zlib.crc32(stage.encode()), step]
        self.numpy = np.random.default_rng(entropy)
        self.torch = torch.Generator().manual_seed(int(self.numpy.integers(2**62)))

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal noise."""
        return torch.randn(shape, generator=self.torch)

    def uniform(self, *shape: int) -> Tensor:
        """Return uniform numbers in [0, 1)."""
        return torch.rand(shape, generator=self.torch)


def learning_rate_factor(settings: StageSettings, step: int) -> float:
    """Return the rate at ``step`` as a share of the peak: linear rise, plateau, cosine decay."""
    rise = min(1.0, (step + 1) / settings.warmup)
    steps = settings.planned_steps(step)
    left = (steps - step) / max(1.0, steps * settings.falling)
    return rise * (0.5 - 0.5 * math.cos(math.pi * min(1.0, left)))


def fit(
    stage: str,
    model: nn.Module,
    loss_of: Callable[[Draws, int], Tensor],
    settings: StageSettings,
    *,
    folder: Path,
    seed: int,
    report: StageCallback,
) -> None:
    """Train ``model`` on ``loss_of(draws, batch_size)`` and load its final weights into it.

    Writes ``<stage>.safetensors`` at the end, and skips a stage that has this file. Parameters
    that do not require gradients are not changed. Raises ``UserError`` for a checkpoint that
    cannot be resumed.
    """
    done = folder / f"{stage}.safetensors"
    if not done.exists():
        _train(
            model,
            lambda step: loss_of(Draws(seed, stage, step), settings.batch_size),
            settings,
            folder / f"{stage}.checkpoint",
            {"stage": stage, "seed": seed},
            partial(report, stage),
        )
        with whole_file(done) as unfinished:
            save_weights(_contiguous(model.state_dict()), unfinished)
    model.load_state_dict(load_file(done))
    model.eval().requires_grad_(False)


def _train(
    model: nn.Module,
    loss_at: Callable[[int], Tensor],
    settings: StageSettings,
    checkpoint: Path,
    run: Mapping[str, Any],
    report: Callable[[int, int, float], None],
) -> None:
    """Run the remaining steps. The loss of a step depends only on its number."""
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=1e-4)
    schedule = LambdaLR(optimizer, partial(learning_rate_factor, settings))
    average = running_average(model, settings.ema_decay or 0.0)
    parts: dict[str, Stateful] = {
        "model": model,
        "average": average,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    load_checkpoint(checkpoint, run, parts)
    for step in range(schedule.last_epoch, settings.steps):
        loss = loss_at(step)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        report(step + 1, settings.steps, float(loss.detach()))
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_checkpoint(checkpoint, run, parts)
    model.load_state_dict(average.module.state_dict())


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in state.items()}
