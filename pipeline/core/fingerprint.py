"""Software and device for which results are reproducible byte for byte.

Kernels differ between library versions, processor types and thread counts, so two builds are
compared only where their fingerprints are equal.
"""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.records import Record

if TYPE_CHECKING:
    import torch

ALGORITHM_VERSION = 2
"""Version of the computation. Increased when the same plan gives other results."""

PACKAGES = (
    "diffusers",
    "ftfy",
    "numpy",
    "pillow",
    "pyarrow",
    "tokenizers",
    "torch",
    "transformers",
)
"""Libraries whose code decides bytes."""


class Fingerprint(Record):
    """Software and device that computed a unit."""

    algorithm_version: int
    python: str
    """Major and minor version."""
    packages: dict[str, str]
    """Versions of the libraries whose code decides bytes."""
    device: str
    """Model name of the GPU or processor."""
    kernels: str
    """CUDA version, or the instruction set that torch's CPU kernels use."""
    threads: int
    """CPU threads per kernel, which split sums among them. 0 on a GPU."""


def fingerprint(device: "torch.device") -> Fingerprint:
    """Return the fingerprint of this process, computing on ``device``."""
    # The import takes seconds, and code that only reads a stored fingerprint does not need it.
    import torch

    on_gpu = device.type == "cuda"
    return Fingerprint(
        algorithm_version=ALGORITHM_VERSION,
        python=".".join(platform.python_version_tuple()[:2]),
        packages={name: version(name) for name in PACKAGES},
        device=torch.cuda.get_device_name(device) if on_gpu else _processor(),
        kernels=f"cuda {torch.version.cuda}" if on_gpu else torch.backends.cpu.get_cpu_capability(),
        threads=0 if on_gpu else torch.get_num_threads(),
    )


def _processor() -> str:
    """Return the model name of the CPU."""
    # platform.processor() is empty on Linux.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
