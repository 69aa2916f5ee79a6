"""What only a GPU can show; skipped where there is none.

    make test-gpu

Everything else runs the same code on the CPU, where float32 is the only type that is fast.
"""

from collections.abc import Iterator

import pytest
import torch

from pipeline.determinism import be_deterministic
from pipeline.models.reward import full_precision


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return torch.device("cuda")


@pytest.fixture
def full_float32() -> Iterator[None]:
    """As on a CPU."""
    with full_precision():
        yield


@pytest.fixture
def deterministic() -> Iterator[None]:
    """As in a worker; undone, because it is a state of the process."""
    threads = torch.get_num_threads()
    be_deterministic()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
