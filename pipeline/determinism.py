"""Settings of torch under which the same plan gives the same bytes."""

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
