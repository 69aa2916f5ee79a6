"""Description of a machine: its software, devices, memory, disks and limits.

The description is plain data, so that a Ray task can return that of each machine of a cluster.
"""

import os
import resource
import shutil
import socket
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from platform import python_version

from packaging.requirements import Requirement
from packaging.version import Version

from pipeline.core.fingerprint import PACKAGES

PACKAGE = "noise-prompt-dataset"

COMPARED = (PACKAGE, "ray", *PACKAGES)
"""Packages whose versions must be equal on all machines of a cluster."""

_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU that processes of this user can see."""

    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """File system of a folder."""

    use: str
    """Use of the folder."""
    folder: str
    total_bytes: int
    free_bytes: int
    is_writable: bool


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Software and resources of a machine."""

    host: str
    python: str
    packages: dict[str, str]
    """Maps each package of ``COMPARED`` that is installed to its version."""
    unmet: tuple[str, ...]
    """Requirements of this package that the installed packages do not meet, as messages."""
    gpus: tuple[Gpu, ...]
    cuda: str | None
    """CUDA version that torch was built for, or None for a build without CUDA."""
    gpu_error: str
    """Error of torch or the driver; empty if there is none."""
    has_nvidia_device: bool
    """True if the system has an NVIDIA GPU, also one that torch cannot use."""
    cpus: int
    memory_bytes: int
    shared_memory_bytes: int | None
    """Size of ``/dev/shm``; None if it does not exist."""
    disks: tuple[Disk, ...]
    max_open_files: int
    """Limit of open files that a process may raise its limit to."""


def describe_machine() -> Machine:
    """Return the description of this machine. Takes seconds, because it imports torch."""
    import torch

    gpus, gpu_error = _gpus()
    return Machine(
        host=socket.gethostname(),
        python=python_version(),
        packages={
            name: found for name in COMPARED if (found := installed_version(name)) is not None
        },
        unmet=tuple(_unmet()),
        gpus=gpus,
        cuda=torch.version.cuda,
        gpu_error=gpu_error,
        has_nvidia_device=Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None,
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        shared_memory_bytes=(
            shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None
        ),
        disks=tuple(_disks()),
        max_open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    )


def installed_version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _unmet() -> list[str]:
    messages = []
    for text in requires(PACKAGE) or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = installed_version(requirement.name)
        if found is None:
            messages.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(Version(found), prereleases=True):
            messages.append(f"{requirement.name} {found} is installed, not {requirement.specifier}")
    return messages


def _gpus() -> tuple[tuple[Gpu, ...], str]:
    import torch

    try:
        found = []
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            found.append(Gpu(name=name, total_bytes=total, free_bytes=free))
        return tuple(found), ""
    # torch raises RuntimeError for every fault of the driver.
    except RuntimeError as error:
        return (), str(error).strip().splitlines()[0]


def _disks() -> list[Disk]:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    weights = os.environ.get("HF_HOME") or Path(cache, "huggingface")
    folders = {
        "temporary files and Ray (TMPDIR)": Path(tempfile.gettempdir()),
        "cache of shards (XDG_CACHE_HOME)": Path(cache),
        "downloaded weights (HF_HOME)": Path(weights),
    }
    return [_disk(use, folder) for use, folder in folders.items()]


def _disk(use: str, folder: Path) -> Disk:
    # A folder that does not exist yet is created in the nearest one that does.
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    usage = shutil.disk_usage(existing)
    return Disk(
        use=use,
        folder=str(folder),
        total_bytes=usage.total,
        free_bytes=usage.free,
        is_writable=os.access(existing, os.W_OK | os.X_OK),
    )
