"""How the demo models are trained: every number in one place."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The length and learning rate of one training stage."""

    steps: int
    """Optimiser steps."""
    batch_size: int
    """Pictures in one step."""
    learning_rate: float
    """Peak learning rate of AdamW."""
    falling: float
    """Share of the steps, at the end, over which the rate falls to zero along a cosine."""
    warmup: int = 50
    """Steps over which the rate rises from zero."""
    ema_decay: float | None = None
    """Decay of the running average of the weights that is kept; None keeps the last weights."""
    lengthened: tuple[tuple[int, int], ...] = ()
    """(step, length): up to that step, the learning rate was that of a run of that length."""

    def planned_steps(self, step: int) -> int:
        """The length that the run was planned for when it took ``step``."""
        return next((length for until, length in self.lengthened if step < until), self.steps)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the weights, beside the seed."""

    pool_size: int = 40_000
    """Rendered training pictures."""
    vae: Schedule = Schedule(steps=1200, batch_size=16, learning_rate=2.5e-3, falling=1.0)
    """Encoder and decoder together."""
    decoder: Schedule = Schedule(
        steps=2600, batch_size=16, learning_rate=2e-3, falling=1.0, ema_decay=0.99
    )
    """The decoder alone, on the frozen encoder's latents."""
    diffusion: Schedule = Schedule(
        steps=4400,
        batch_size=40,
        learning_rate=8e-4,
        falling=0.4,
        ema_decay=0.998,
        # The shipped weights were made so: twice the run was given more steps while it ran.
        lengthened=((2000, 3200), (3000, 3800)),
    )
    """UNet and text encoder together."""
    reward: Schedule = Schedule(
        steps=1500, batch_size=48, learning_rate=1e-3, falling=0.6, ema_decay=0.99
    )
    """The preference model."""
    evaluation_size: int = 256
    """Prompts in the final evaluation."""

    def quick(self) -> "Recipe":
        """A smoke setting: every stage runs, nothing is learned, seconds in all."""

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
