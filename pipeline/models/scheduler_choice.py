"""Another scheduler than the one a model came with, or other options of it.

Some models are published with a scheduler that cannot be inverted (Karras' sigmas, SDE solvers), in
files that nobody should have to edit.
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
    """Give ``pipe`` the scheduler ``name`` of diffusers, by default the class that it has, with its
    configuration but for ``options``.

    Raises ``ModelError`` for what diffusers does not have.
    """
    chosen = type(pipe.scheduler) if name is None else getattr(diffusers, name, None)
    if not (inspect.isclass(chosen) and issubclass(chosen, SchedulerMixin)):
        raise ModelError(
            f"{where}: {name!r} in [model.scheduler] is no scheduler of diffusers; the model's own "
            f"is {type(pipe.scheduler).__name__}"
        )
    known = inspect.signature(chosen.__init__).parameters
    # diffusers would drop them in silence.
    if unknown := sorted(set(options) - set(known)):
        raise ModelError(
            f"{where}: {chosen.__name__} has no option {', '.join(map(repr, unknown))} "
            f"([model.scheduler]); it has {', '.join(sorted(set(known) - {'self'}))}"
        )
    library: Any = chosen  # its loader carries no types
    pipe.scheduler = library.from_config(pipe.scheduler.config, **options)
