"""Numbers with units as text for people."""


def human_bytes(count: float) -> str:
    """Format a number of bytes with a decimal prefix (1 kB = 1000 B)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_seconds(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 unit`` or ``2,000 units``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
