"""Replacement of a model's scheduler or of its options.

Some models are published with a scheduler that cannot be inverted (Karras' sigmas, SDE solvers).
``[model.scheduler]`` replaces it without edits to the model's files.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import SchedulerMixin

from pipeline.errors import ModelError

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
