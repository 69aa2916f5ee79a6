"""Parallel map of a pure function over Ray tasks."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray
from ray.exceptions import RayTaskError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_tasks(
    function: Callable[[Item], Result], items: Iterable[Item], *, in_flight: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, with at most ``in_flight`` tasks running.

    Ray repeats a task whose machine dies. An error of ``function`` is raised without Ray's wrapper.
    """
    # Retries are safe: the function is pure, and an error it raises itself is not retried.
    task = ray.remote(num_cpus=1, max_retries=3)(function)
    running: deque[Any] = deque()
    try:
        for item in items:
            running.append(task.remote(item))
            # Waiting here limits the running tasks and takes inputs only as they are needed.
            if len(running) >= in_flight:
                yield ray.get(running.popleft())
        while running:
            yield ray.get(running.popleft())
    except RayTaskError as error:
        raise error.cause if error.cause is not None else error from None
