"""The small sealed data set, and what a training run needs beside it."""

from collections.abc import Iterator

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from tests.sealed import built, sealed_folder

__all__ = ["built", "sealed_folder"]


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    """One process on the CPU."""
    yield Accelerator(cpu=True)
    # accelerate keeps one state a process: the next test may want another one.
    AcceleratorState._reset_state(reset_partial_state=True)
