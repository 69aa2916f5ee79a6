"""Tests that need a GPU. They are skipped elsewhere.

    make test-gpu

The other tests run the same code on the CPU, where only float32 is fast.
"""

from collections.abc import Iterator

import pytest
import torch

from pipeline.core.determinism import be_deterministic, full_precision


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return torch.device("cuda")


@pytest.fixture
def full_float32() -> Iterator[None]:
    """Full float32 precision, as on a CPU."""
    with full_precision():
        yield


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Deterministic kernels, as in a worker. Restored afterwards, because the setting is global."""
    threads = torch.get_num_threads()
    be_deterministic()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
