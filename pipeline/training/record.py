"""Summary of a finished training run: the file ``training.json`` beside the network."""

import json
from dataclasses import dataclass
from pathlib import Path

SUMMARY_FILE = "training.json"


@dataclass(frozen=True, kw_only=True)
class TrainingTime:
    """Duration of a training run."""

    seconds: float
    """Wall-clock time on all processes at once."""
    processes: int
    device: str
    """Type of the device, such as ``cuda``."""


def training_time(folder: Path, digest: str) -> TrainingTime | None:
    """Return how long the training of a network took; None if it is not recorded.

    ``digest`` is that of the network. A summary of another network is ignored.
    """
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_bytes())
        # Earlier versions did not record the network's digest.
        if summary.get("network", digest) != digest:
            return None
        return TrainingTime(
            seconds=float(summary["seconds"]),
            processes=int(summary["processes"]),
            device=str(summary["device"]),
        )
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return None
