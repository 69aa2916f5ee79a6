"""Settings of torch under which the same plan gives the same bytes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def be_deterministic() -> None:
    """Make one thread's computations repeat bit for bit.

    One CPU thread, however many are reserved: kernels split their sums by threads, and the
    reservation must not change a byte. ``warn_only``, because an operation without a deterministic
    form shows up as attempts that disagree, which are counted.
    """
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Else every new tensor is filled first, for programs that read what they never wrote.
    switches: Any = torch.utils.deterministic  # torch's types do not know them
    switches.fill_uninitialized_memory = False


@contextmanager
def settings_kept() -> Iterator[None]:
    """Run code of others, and undo what it did to the settings of torch that decide bytes.

    Judges and proposers of users set threads or TF32 for their own speed; all that is computed
    after them would have other last bits.
    """
    before = [get() for get, _ in _SETTINGS]
    try:
        yield
    finally:
        for (get, put), value in zip(_SETTINGS, before, strict=True):
            if get() != value:
                put(value)


def _precision(backend: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    # The newer switch: reading the older one fails once the newer one was set.
    return (
        lambda: backend.fp32_precision,
        lambda value: setattr(backend, "fp32_precision", value),
    )


def _deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


_cudnn: Any = torch.backends.cudnn  # torch's types do not know its parts

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
