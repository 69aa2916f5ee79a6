"""Tasks without a model: they succeed, wait for each other or fail."""

import os
import select
from contextlib import suppress
from pathlib import Path

from pipeline.core.errors import VerificationError
from tests.cluster.stand_ins import BARRIER_TIMEOUT_S


def square(number: int) -> int:
    """A task that succeeds."""
    return number * number


def begin_in_pairs(item: tuple[Path, int]) -> int:
    """A task that, if its number is even, ends only after the next one has begun."""
    folder, number = item
    pipe = folder / f"pair-{number // 2}"
    with suppress(FileExistsError):  # the other task has made it
        os.mkfifo(pipe)
    if number % 2:
        pipe.write_bytes(b"begun")  # waits until the other task has opened it
    else:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        begun, _, _ = select.select([reader], [], [], BARRIER_TIMEOUT_S)
        os.close(reader)
        assert begun, f"task {number + 1} has not begun while task {number} runs"
    return number


def refuse_three(number: int) -> int:
    """A task that fails for one input."""
    if number == 3:
        raise VerificationError("units/three: not the bytes that its receipt promises")
    return number
