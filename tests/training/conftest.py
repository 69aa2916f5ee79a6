"""Small sealed data set, and an accelerator for training runs."""

from collections.abc import Iterator

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from tests.sealed import built, sealed_folder

__all__ = ["built", "sealed_folder"]


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    """Return an accelerator of one process on the CPU."""
    yield Accelerator(cpu=True)
    # accelerate keeps one state per process, and the next test may need another one.
    AcceleratorState._reset_state(reset_partial_state=True)
