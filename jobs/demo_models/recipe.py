"""All numbers of the training of the demo models."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The length and learning rate of one training stage."""

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
class Recipe:
    """All settings that decide the weights, except the seed."""

    pool_size: int = 40_000
    """Number of rendered training pictures."""
    vae: Schedule = Schedule(steps=1200, batch_size=16, learning_rate=2.5e-3, falling=1.0)
    """Schedule of encoder and decoder together."""
    decoder: Schedule = Schedule(
        steps=2600, batch_size=16, learning_rate=2e-3, falling=1.0, ema_decay=0.99
    )
    """Schedule of the decoder alone, on the frozen encoder's latents."""
    diffusion: Schedule = Schedule(
        steps=4400,
        batch_size=40,
        learning_rate=8e-4,
        falling=0.4,
        ema_decay=0.998,
        # The run of the shipped weights was lengthened twice while it ran.
        lengthened=((2000, 3200), (3000, 3800)),
    )
    """Schedule of UNet and text encoder together."""
    reward: Schedule = Schedule(
        steps=1500, batch_size=48, learning_rate=1e-3, falling=0.6, ema_decay=0.99
    )
    """Schedule of the preference model."""
    evaluation_size: int = 256
    """Number of prompts in the final evaluation."""

    def quick(self) -> "Recipe":
        """Return settings for a smoke test: every stage runs for seconds and learns nothing."""

        def short(schedule: Schedule) -> Schedule:
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
