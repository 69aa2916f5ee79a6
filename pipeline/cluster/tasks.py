"""A pure function over many inputs, as Ray tasks, a few at a time."""

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
    """``map(function, items)``, in order, with at most ``in_flight`` tasks at a time.

    A task whose machine dies is run again by Ray; an error of ``function`` is raised as it was.
    """
    task = ray.remote(num_cpus=1, max_retries=3)(function)
    running: deque[Any] = deque()
    try:
        for item in items:
            running.append(task.remote(item))
            if len(running) >= in_flight:
                yield ray.get(running.popleft())
        while running:
            yield ray.get(running.popleft())
    except RayTaskError as error:
        raise error.cause if error.cause is not None else error from None
