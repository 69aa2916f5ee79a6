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
"""Seen: 3 s for a node and 8 s for a head, on an idle machine."""

_OBJECT_STORE_BYTES = 80_000_000
"""A little over Ray's minimum; a build passes numbers only."""


class RayNode:
    """A head (``head`` is None; it computes nothing) or a node with one CPU, so one worker."""

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
        """What drivers and nodes connect to, if this is a head."""
        return f"{self.place.address}:{self._port}"

    def start(self) -> None:
        """Start it; returns at once."""
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
        """Raises ``RuntimeError`` with the end of its log."""
        until(lambda: self._says_ready() or not self.is_running(), START_TIMEOUT_S)
        if not self._says_ready():
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{self.place.name}: Ray did not start:\n{tail}")

    def is_running(self) -> bool:
        """Whether ``ray start --block`` has not ended; it ends when its raylet does."""
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[psutil.Process]:
        """The processes that compute units."""
        return list(worker_processes(self._process)) if self._process else []

    def raylet(self) -> psutil.Process | None:
        """The process that starts workers and speaks for the node."""
        return next((each for each in self._tree() if _is_raylet(each)), None)

    def stop(self) -> None:
        """End everything that was started here, by force."""
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
        """All descendants. They are remembered, because a killed parent leaves orphans."""
        if self._process is not None:
            self._descendants |= set(descendants(self._process))
        return [process for process in self._descendants if is_alive(process)]

    def _head_options(self) -> Iterator[str]:
        yield from ("--head", "--num-cpus=0", "--include-dashboard=false", f"--port={self._port}")
        yield f"--ray-client-server-port={free_ports(1)[0]}"

    def _node_options(self) -> Iterator[str]:
        assert self._head is not None
        yield from ("--num-cpus=1", f"--address={self._head.gcs_address}")

    def _says_ready(self) -> bool:
        return "Ray runtime started" in self._log.read_text(errors="replace")

    @property
    def _log(self) -> Path:
        return self._folder / "ray_start.log"


def _is_raylet(process: psutil.Process) -> bool:
    return Path(title(process).partition(" ")[0]).name == "raylet"


def worker_processes(ancestor: psutil.Process) -> Iterator[psutil.Process]:
    """The processes below ``ancestor`` that compute units."""
    return (each for each in descendants(ancestor) if title(each).startswith("ray::WorkerActor"))


def descendants(ancestor: psutil.Process) -> list[psutil.Process]:
    """All processes below it that live; none where it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [each for each in ancestor.children(recursive=True) if is_alive(each)]
    return []


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs, and is not a dead child that nobody has asked for yet."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def title(process: psutil.Process) -> str:
    """Its command line, which Ray's workers replace by what they do; empty where it has ended."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
