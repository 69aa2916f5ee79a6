"""Check that workers run the same software as the machine that started the build.

Bytes are the same only with the same libraries. When a machine joins, Ray compares its own version
and that of Python, and nothing else.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from platform import python_version
from typing import Self

from pipeline.cluster.machine import COMPARED, installed_version
from pipeline.core.errors import ClusterError

_ABSENT = "none"
_CPU_BUILD = "cpu"


@dataclass(frozen=True, kw_only=True)
class Software:
    """Versions on one machine."""

    host: str
    versions: Mapping[str, str]
    """Maps ``python`` and each package of ``COMPARED`` to its version, or to ``none``."""

    @classmethod
    def here(cls) -> Self:
        """Return the software of this process."""
        return cls(host=socket.gethostname(), versions=_versions())


@cache
def _versions() -> dict[str, str]:
    packages = {name: installed_version(name) or _ABSENT for name in COMPARED}
    return {"python": python_version(), **packages}


def check_software(driver: Software, here: Software | None = None) -> None:
    """Raise ``ClusterError`` if this machine has other versions than that of the driver."""
    here = here or Software.here()
    differing = [
        f"{name} {here.versions.get(name, _ABSENT)} instead of {version}"
        for name, version in driver.versions.items()
        if not _equal(here.versions.get(name, _ABSENT), version)
    ]
    if differing:
        raise ClusterError(
            f"{here.host} has other software than {driver.host}, where the build was started: "
            f"{', '.join(differing)}. Results would depend on the machine. Install the same "
            "versions on all machines, for example with infra/constraints.txt, and run the same "
            "command again"
        )


def _equal(one: str, other: str) -> bool:
    """Compare two versions. A build for the CPU equals one for a CUDA version.

    The driver computes nothing, so its machine may have torch 2.13.0+cpu and GPUs 2.13.0+cu130.
    """
    (public, _, build), (other_public, _, other_build) = one.partition("+"), other.partition("+")
    return public == other_public and (build == other_build or _CPU_BUILD in (build, other_build))
