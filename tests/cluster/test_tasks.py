"""``map_tasks`` on a real Ray: order, number of running tasks and errors."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from pipeline.cluster.ray_session import ended_calls, map_tasks
from pipeline.core.errors import VerificationError
from tests.cluster.stand_in_tasks import begin_in_pairs, refuse_three, square

pytestmark = pytest.mark.usefixtures("ray_cluster")


class Counted:
    """Numbers up to ``stop``, with a count of those taken."""

    def __init__(self, stop: int) -> None:
        self.taken = 0
        self._stop = stop

    def __iter__(self) -> Iterator[int]:
        for number in range(self._stop):
            self.taken += 1
            yield number


def test_map_tasks_gives_what_map_gives() -> None:
    assert list(map_tasks(square, range(30), in_flight=3)) == list(map(square, range(30)))
    assert list(map_tasks(square, [], in_flight=3)) == []
    assert list(map_tasks(square, [5], in_flight=3)) == [25]


def test_map_tasks_keeps_the_order_when_a_later_task_ends_first(tmp_path: Path) -> None:
    items = [(tmp_path, number) for number in range(6)]
    assert list(map_tasks(begin_in_pairs, items, in_flight=2)) == list(range(6))


def test_map_tasks_takes_inputs_as_they_are_needed() -> None:
    numbers = Counted(20)
    for position, _ in enumerate(map_tasks(square, numbers, in_flight=3)):
        assert numbers.taken <= position + 3


def test_map_tasks_error_is_raised_as_it_was() -> None:
    seen = []
    with pytest.raises(VerificationError) as caught:
        for number in map_tasks(refuse_three, range(10), in_flight=2):
            seen.append(number)
    assert type(caught.value) is VerificationError
    assert str(caught.value) == "units/three: not the bytes that its receipt promises"
    assert seen == [0, 1, 2]


def test_ended_calls_are_all_that_have_ended() -> None:
    ended = [ray.put(number) for number in range(5)]
    waiting = ray.remote(num_cpus=10**6)(square).remote(2)  # no machine has these resources
    assert ended_calls([*ended[:2], waiting, *ended[2:]], 10.0) == ended
    assert ended_calls([waiting], 0.0) == []
    ray.cancel(waiting)
