"""Peak of the memory of this process over a block of code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def peak_memory_below(num_bytes: int) -> Iterator[None]:
    """Fail if the resident memory grows by ``num_bytes`` or more at any time in the block."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest value so far
    start = _highest()
    yield
    grown = _highest() - start
    assert grown < num_bytes, f"{grown:,} bytes were taken"


def _highest() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024
