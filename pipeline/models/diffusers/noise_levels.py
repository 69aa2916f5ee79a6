"""Noise levels of a model, read from the scheduler of its pipeline.

Models that were trained with ᾱ have a ``TrainingSchedule``. The σ of a flow-matching model depend
on its shift and, for FLUX, on the size of the image. The pipeline's call computes them, so they are
recorded there (``traced_pipeline``) and not repeated here.

Only the numbers are read. Steps are computed by ``pipeline.diffusion.schedule``. Converting a
scheduler with ``DDIMScheduler.from_config`` would silently change them (clip_sample, spacing, SNR
shift).
"""

from typing import Any, cast

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)
from torch import Tensor

from pipeline.config.proposers import Spacing
from pipeline.core.errors import ModelError
from pipeline.diffusion.schedule import Prediction, Schedule, spaced_timesteps

SUPPORTED_SCHEDULERS = (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
)

# Options that change x_0 during a step, or the quantity that the network predicts.
_UNSUPPORTED_OPTIONS = ("thresholding", "use_flow_sigmas")

# With these options the scheduler's levels lie between those of the training. The scheduler can
# sample at them, but our steps cannot.
_OTHER_LEVELS = (
    "use_beta_sigmas",
    "use_exponential_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
)

# With these options a step is not just x' = x + (σ' - σ)·v, or σ does not descend.
_UNSUPPORTED_FLOW_OPTIONS = ("invert_sigmas", "stochastic_sampling", "solver_p")


class TrainingSchedule:
    """The noise levels that a model was trained on. Raises ``ModelError`` for unsupported ones."""

    prediction: Prediction
    alphas_cumprod: Tensor
    """ᾱ_t, float64 (T,), on the CPU."""
    final_alpha_cumprod: float
    """ᾱ at the end of the last step, as in the scheduler. DDIM and PNDM take it from
    ``set_alpha_to_one``. DDPM, Euler and DPM-Solver do not read that option and end at 1."""

    def __init__(self, scheduler: Any, where: str) -> None:
        """Read ``scheduler``; ``where`` names the model in error messages."""
        self._scheduler = scheduler
        self._where = where
        _refuse_unsupported(scheduler, where)
        self.prediction = cast(Prediction, scheduler.config.prediction_type)
        self.alphas_cumprod = scheduler.alphas_cumprod.detach().cpu().to(torch.float64)
        self.final_alpha_cumprod = float(getattr(scheduler, "final_alpha_cumprod", 1.0))

    @property
    def other_levels(self) -> list[str]:
        """Options that make the scheduler leave the levels of the training."""
        return [name for name in _OTHER_LEVELS if self._scheduler.config.get(name)]

    def schedule(self, num_inference_steps: int, spacing: Spacing | None) -> Schedule:
        """Return the N-step schedule. ``spacing`` replaces that of the scheduler.

        Raises ``ModelError`` if the scheduler's spacing leaves the levels of the training.
        """
        timesteps = (
            self._own_timesteps(num_inference_steps)
            if spacing is None
            else spaced_timesteps(
                len(self.alphas_cumprod),
                num_inference_steps,
                spacing,
                self._scheduler.config.get("steps_offset", 0),
            )
        )
        return Schedule.of_alphas(
            self.prediction, self.alphas_cumprod, timesteps, self.final_alpha_cumprod
        )

    def _own_timesteps(self, num_inference_steps: int) -> list[int]:
        config = self._scheduler.config
        if self.other_levels:
            raise ModelError(
                f"{self._where}: {', '.join(self.other_levels)} puts the levels between "
                "those of the training; only scheduler = 'model' in [sampling] supports that; set "
                "timestep_spacing for the steps of a proposer, or set the option to false in "
                "[model.scheduler]"
            )
        if isinstance(self._scheduler, PNDMScheduler):
            # PNDM repeats a timestep for its multistep method. Our steps visit each level once, so
            # its timesteps are computed here and not read from it.
            return spaced_timesteps(
                config.num_train_timesteps,
                num_inference_steps,
                config.timestep_spacing,
                config.steps_offset,
            )
        # This changes the pipeline's scheduler. Each call of the pipeline sets its timesteps again.
        self._scheduler.set_timesteps(num_inference_steps)
        # Some classes space timesteps with floating-point numbers, between two levels of ᾱ.
        exact = [float(t) for t in self._scheduler.timesteps]
        if not all(t.is_integer() for t in exact):
            raise ModelError(
                f"{self._where}: {type(self._scheduler).__name__} with timestep_spacing="
                f"{config.timestep_spacing!r} has fractional timesteps at "
                f"num_inference_steps={num_inference_steps}; choose another number of steps or "
                "timestep_spacing='leading' in scheduler/scheduler_config.json"
            )
        return [int(t) for t in exact]


def _refuse_unsupported(scheduler: Any, where: str) -> None:
    config = scheduler.config
    if not isinstance(scheduler, SUPPORTED_SCHEDULERS):
        names = ", ".join(cls.__name__ for cls in SUPPORTED_SCHEDULERS)
        raise ModelError(
            f"{where}: scheduler {type(scheduler).__name__} is not supported; use one of {names}"
        )
    if config.prediction_type not in ("epsilon", "v_prediction"):
        raise ModelError(
            f"{where}: prediction_type {config.prediction_type!r} is not supported; "
            "only 'epsilon' and 'v_prediction' are"
        )
    refused = [name for name in _UNSUPPORTED_OPTIONS if config.get(name)]
    # DDIM's and DDPM's default is to clip; the other classes ignore the key.
    if isinstance(scheduler, DDIMScheduler | DDPMScheduler) and config.clip_sample:
        refused.append("clip_sample")
    if refused:
        raise ModelError(
            f"{where}: the scheduler's {', '.join(refused)} cannot be inverted; "
            "set it to false in scheduler/scheduler_config.json"
        )
    if config.get("rescale_betas_zero_snr") and config.prediction_type == "epsilon":
        raise ModelError(
            f"{where}: rescale_betas_zero_snr with prediction_type 'epsilon' cannot be inverted, "
            "because at ᾱ = 0 the prediction ε does not determine x_0; only v_prediction models "
            "are trained that way"
        )


def is_flow(scheduler: Any) -> bool:
    """Return True if a model with this scheduler predicts the velocity between data and noise."""
    return (
        isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
        or scheduler.config.get("prediction_type") == "flow_prediction"
    )


def refuse_other_flows(scheduler: Any, where: str) -> None:
    """Raise ``ModelError`` for options with which a step is not a deterministic Euler step."""
    if refused := [name for name in _UNSUPPORTED_FLOW_OPTIONS if scheduler.config.get(name)]:
        raise ModelError(
            f"{where}: the scheduler's {', '.join(refused)} cannot be inverted; "
            "set it to false in scheduler/scheduler_config.json"
        )


def flow_schedule(scheduler: Any) -> Schedule:
    """Return the schedule of a flow-matching scheduler whose timesteps are set."""
    return Schedule.of_sigmas(
        [float(t) for t in scheduler.timesteps], [float(sigma) for sigma in scheduler.sigmas]
    )
