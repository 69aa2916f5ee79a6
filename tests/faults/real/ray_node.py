"""One real node of a Ray cluster: ``ray start --block``, its raylet and its workers."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from infra.storage.ports import free_ports
from tests.faults.real.network import Host
from tests.waiting import until

START_TIMEOUT_S = 90.0
"""An idle machine needs 3 s for a node and 8 s for a head."""

_OBJECT_STORE_BYTES = 80_000_000
"""Slightly above Ray's minimum. A build passes only numbers through the object store."""


class RayNode:
    """A head without CPUs (if ``head`` is None), or a node with one CPU and so one worker."""

    def __init__(
        self, place: Host, folder: Path, env: Mapping[str, str], head: "RayNode | None" = None
    ) -> None:
        self.place = place
        self._folder = folder / place.name
        self._env = env
        self._head = head
        self._process: psutil.Popen | None = None
        self._descendants: set[psutil.Process] = set()
        self._port = free_ports(1)[0]

    @property
    def gcs_address(self) -> str:
        """Address that drivers and nodes connect to, if this is a head."""
        return f"{self.place.address}:{self._port}"

    def start(self) -> None:
        """Start the node without waiting for it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = psutil.Popen(
                [
                    *self.place.prefix,
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
                    *(self._head_options() if self._head is None else self._node_options()),
                    *(f"--node-ip-address={self.place.address}", f"--temp-dir={self._folder}"),
                    *(f"--object-store-memory={_OBJECT_STORE_BYTES}", "--disable-usage-stats"),
                    # Any free ports: the default range may hold those of the head and the store.
                    *("--min-worker-port=0", "--max-worker-port=0"),
                ],
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until the node runs. Raises ``RuntimeError`` with the end of its log."""
        until(lambda: self._is_ready() or not self.is_running(), START_TIMEOUT_S)
        if not self._is_ready():
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{self.place.name}: Ray did not start:\n{tail}")

    def is_running(self) -> bool:
        """Return True while ``ray start --block`` runs. It ends with its raylet."""
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes of the node."""
        return list(worker_processes(self._process)) if self._process else []

    def raylet(self) -> psutil.Process | None:
        """Return the raylet, which starts the workers of the node."""
        return next((each for each in self._tree() if _is_raylet(each)), None)

    def stop(self) -> None:
        """Kill every process that the node has started."""
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self._descendants, timeout=10)
        self._descendants.clear()
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                self._process.kill()
            self._process.wait()
            self._process = None

    def _tree(self) -> list[psutil.Process]:
        """Return all descendants that are alive.

        Earlier ones are remembered, because a killed parent leaves orphans.
        """
        if self._process is not None:
            self._descendants |= set(descendants(self._process))
        return [process for process in self._descendants if is_alive(process)]

    def _head_options(self) -> Iterator[str]:
        yield from ("--head", "--num-cpus=0", "--include-dashboard=false", f"--port={self._port}")
        yield f"--ray-client-server-port={free_ports(1)[0]}"

    def _node_options(self) -> Iterator[str]:
        assert self._head is not None
        yield from ("--num-cpus=1", f"--address={self._head.gcs_address}")

    def _is_ready(self) -> bool:
        return "Ray runtime started" in self._log.read_text(errors="replace")

    @property
    def _log(self) -> Path:
        return self._folder / "ray_start.log"


def _is_raylet(process: psutil.Process) -> bool:
    return Path(title(process).partition(" ")[0]).name == "raylet"


def worker_processes(ancestor: psutil.Process) -> Iterator[psutil.Process]:
    """Yield the worker processes below ``ancestor``."""
    return (each for each in descendants(ancestor) if title(each).startswith("ray::WorkerActor"))


def descendants(ancestor: psutil.Process) -> list[psutil.Process]:
    """Return all living processes below ``ancestor``; none if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [each for each in ancestor.children(recursive=True) if is_alive(each)]
    return []


def is_alive(process: psutil.Process) -> bool:
    """Return True if the process runs and is not a zombie."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def title(process: psutil.Process) -> str:
    """Return the command line, in which Ray's workers show their task; empty after the end."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
