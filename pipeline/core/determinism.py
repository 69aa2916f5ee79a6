"""Torch settings that make the same plan produce the same bytes and the same decisions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def be_deterministic() -> None:
    """Set torch to repeat the computations of the current thread bit for bit."""
    # Kernels split sums by threads, so the result would depend on the number of reserved CPUs.
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = False
    # Only a warning: an operation without a deterministic form shows up as attempts that disagree,
    # and the build counts those.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode fills every new tensor, which only helps code that reads uninitialized
    # memory.
    switches: Any = torch.utils.deterministic  # torch's types lack the attribute
    switches.fill_uninitialized_memory = False


@contextmanager
def preserve_settings() -> Iterator[None]:
    """Run custom code and restore the torch settings that affect results.

    Custom rewards and proposers may set threads or TF32 for speed. Without this context, everything
    computed after them would differ in its last bits.
    """
    before = [get() for get, _ in _SETTINGS]
    try:
        yield
    finally:
        for (get, put), value in zip(_SETTINGS, before, strict=True):
            if get() != value:
                put(value)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute convolutions in full float32. Use it as a context manager or as a decorator."""
    # TF32 keeps 10 bits. On an H200 it moved reward scores by up to 6e-4, as much as half precision
    # would, and smaller differences can decide a pair. Matrix products need no setting: torch
    # computes them in float32 by default.
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _precision(backend: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    # Torch has an older switch too, but reading it fails after the newer one was set.
    return (
        lambda: backend.fp32_precision,
        lambda value: setattr(backend, "fp32_precision", value),
    )


def _deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


_cudnn: Any = torch.backends.cudnn  # torch's types lack conv and rnn

_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], None]], ...] = (
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_default_dtype, torch.set_default_dtype),
    (
        _deterministic,
        lambda mode: torch.use_deterministic_algorithms(mode[0], warn_only=mode[1]),
    ),
    (
        lambda: torch.backends.cudnn.benchmark,
        lambda value: setattr(torch.backends.cudnn, "benchmark", value),
    ),
    _precision(torch.backends.cuda.matmul),
    _precision(_cudnn.conv),
    _precision(_cudnn.rnn),
)
