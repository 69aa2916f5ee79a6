"""Schedulers of diffusers: the replacement of a model's scheduler, and sampling with it.

Some models are published with a scheduler that cannot be inverted (Karras' sigmas, SDE solvers).
``[model.scheduler]`` replaces it without edits to the model's files.

``NativeScheduler`` is used for sampling only. Re-denoising needs steps that can be inverted
(``diffusion.schedule``). Those of a multistep solver cannot, because a step depends on earlier
ones. B batch, N num_inference_steps.
"""

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import diffusers
from diffusers import SchedulerMixin
from torch import Tensor

from pipeline.core.errors import ModelError

_STOCHASTIC = ("Ancestral", "LCM", "SDE", "TCD")
"""Parts of the names of schedulers that draw noise at each step."""


class NativeScheduler:
    """One run of a scheduler whose timesteps are set. It keeps the state of earlier steps."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = copy.deepcopy(scheduler)
        # With an index, schedulers take steps in order instead of searching each timestep. DDIM and
        # DDPM keep no index.
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(0)

    @property
    def timesteps(self) -> Sequence[float]:
        """Timesteps (N,) for the network, in descending order."""
        return [float(t) for t in self._scheduler.timesteps]

    def begin(self, noise: Tensor) -> Tensor:
        """Scale noise, float32 (B, ...), to the scheduler's initial latents."""
        # Flow-matching schedulers have no such scale: they start at unit noise.
        scale: float = getattr(self._scheduler, "init_noise_sigma", 1.0)
        return noise * scale

    def model_input(self, latents: Tensor, step: int) -> Tensor:
        """Scale latents for the network at ``step``."""
        if not hasattr(self._scheduler, "scale_model_input"):
            return latents
        scaled: Tensor = self._scheduler.scale_model_input(latents, self._scheduler.timesteps[step])
        return scaled

    def denoise(self, latents: Tensor, output: Tensor, step: int) -> Tensor:
        """Take step number ``step``. Steps must be taken in order, each one once."""
        timestep = self._scheduler.timesteps[step]
        stepped: Tensor = self._scheduler.step(output, timestep, latents, return_dict=False)[0]
        return stepped


def refuse_other_schedulers(scheduler: Any, num_inference_steps: int, where: str) -> None:
    """Raise ``ModelError`` for a stochastic scheduler or one with more evaluations than steps.

    The timesteps of ``scheduler`` must be set.
    """
    name = type(scheduler).__name__
    config = scheduler.config
    stochastic = (
        any(part in name for part in _STOCHASTIC)
        or str(config.get("algorithm_type", "")).startswith("sde")
        or config.get("stochastic_sampling")
        or name == "DDPMScheduler"
    )
    if stochastic:
        raise ModelError(
            f"{where}: {name} draws noise at each step, so an image would not depend on its "
            "initial noise alone; set scheduler = 'ddim' in [sampling]"
        )
    if len(scheduler.timesteps) != num_inference_steps:
        raise ModelError(
            f"{where}: {name} evaluates the network {len(scheduler.timesteps)} times in "
            f"{num_inference_steps} steps; set scheduler = 'ddim' in [sampling]"
        )


Option = bool | int | float | str


def choose_scheduler(
    pipe: Any, where: str, name: str | None, options: Mapping[str, Option]
) -> None:
    """Replace the scheduler of ``pipe`` by the class ``name`` of diffusers.

    Without ``name`` the class is kept. ``options`` override those of the present configuration.
    Raises ``ModelError`` for a class or an option that diffusers does not have.
    """
    chosen = type(pipe.scheduler) if name is None else getattr(diffusers, name, None)
    if not (inspect.isclass(chosen) and issubclass(chosen, SchedulerMixin)):
        raise ModelError(
            f"{where}: {name!r} in [model.scheduler] is not a scheduler of diffusers; the model "
            f"comes with {type(pipe.scheduler).__name__}"
        )
    known = inspect.signature(chosen.__init__).parameters
    # diffusers would silently drop unknown options.
    if unknown := sorted(set(options) - set(known)):
        raise ModelError(
            f"{where}: {chosen.__name__} has no option {', '.join(map(repr, unknown))} "
            f"([model.scheduler]); it has {', '.join(sorted(set(known) - {'self'}))}"
        )
    library: Any = chosen  # its loader carries no types
    pipe.scheduler = library.from_config(pipe.scheduler.config, **options)
