"""The levels of a flow-matching model, read from the scheduler that its pipeline has set.

Which σ an N-step run visits depends on the model's shift and, for FLUX, on the size of the image;
the pipeline's own call knows, so it is asked (``watched_pipeline``) and nothing is computed here.
"""

from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from pipeline.diffusion.schedule import Schedule
from pipeline.errors import ModelError

# Options with which a step is more than x' = x + (σ' - σ)·v, or σ does not descend.
_UNSUPPORTED_OPTIONS = ("invert_sigmas", "stochastic_sampling", "solver_p")


def is_flow(scheduler: Any) -> bool:
    """Whether a model with this scheduler predicts a velocity between data and noise."""
    return (
        isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
        or scheduler.config.get("prediction_type") == "flow_prediction"
    )


def refuse_other_flows(scheduler: Any, where: str) -> None:
    """Raises ``ModelError`` for options that no deterministic Euler step follows."""
    if refused := [name for name in _UNSUPPORTED_OPTIONS if scheduler.config.get(name)]:
        raise ModelError(
            f"{where}: the scheduler's {', '.join(refused)} cannot be inverted; "
            "set it to false in scheduler/scheduler_config.json"
        )


def flow_schedule(scheduler: Any) -> Schedule:
    """The steps of a flow's scheduler, after its timesteps were set."""
    return Schedule.of_sigmas(
        [float(t) for t in scheduler.timesteps], [float(sigma) for sigma in scheduler.sigmas]
    )
