"""Noise levels of a flow-matching model, read from the scheduler that its pipeline has configured.

The σ of an N-step run depend on the model's shift and, for FLUX, on the size of the image. The
pipeline's call computes them, so they are recorded there (``traced_pipeline``) and not repeated
here.
"""

from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from pipeline.diffusion.schedule import Schedule
from pipeline.errors import ModelError

# With these options a step is not just x' = x + (σ' - σ)·v, or σ does not descend.
_UNSUPPORTED_OPTIONS = ("invert_sigmas", "stochastic_sampling", "solver_p")


def is_flow(scheduler: Any) -> bool:
    """Return True if a model with this scheduler predicts the velocity between data and noise."""
    return (
        isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
        or scheduler.config.get("prediction_type") == "flow_prediction"
    )


def refuse_other_flows(scheduler: Any, where: str) -> None:
    """Raise ``ModelError`` for options with which a step is not a deterministic Euler step."""
    if refused := [name for name in _UNSUPPORTED_OPTIONS if scheduler.config.get(name)]:
        raise ModelError(
            f"{where}: the scheduler's {', '.join(refused)} cannot be inverted; "
            "set it to false in scheduler/scheduler_config.json"
        )


def flow_schedule(scheduler: Any) -> Schedule:
    """Return the schedule of a flow-matching scheduler whose timesteps are set."""
    return Schedule.of_sigmas(
        [float(t) for t in scheduler.timesteps], [float(sigma) for sigma in scheduler.sigmas]
    )
