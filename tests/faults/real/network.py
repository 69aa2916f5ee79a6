"""Where the nodes of a cluster live: each in a network namespace, or all on the loopback device.

In a namespace a node has its own address, its own loopback device and a link that can be cut. Where
the machine does not allow namespaces, nodes have loopback addresses of their own, and no links.
"""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Host:
    """Where processes of one node run."""

    name: str
    address: str
    prefix: tuple[str, ...] = ()
    """What a command is preceded by to run there."""
    link: str | None = None
    """The device through which all of its traffic goes, where there is one to cut."""

    @property
    def source(self) -> str | None:
        """Where its requests come from, as others see it; None where all places look alike."""
        return self.address if self.link else None

    def cut(self) -> None:
        """Let no packet through, without a word to either side."""
        assert self.link is not None
        _ip("link", "set", self.link, "down")

    def mend(self) -> None:
        """Let packets through again."""
        assert self.link is not None
        _ip("link", "set", self.link, "up")


class Network(Protocol):
    """Gives places."""

    gateway: str
    """The address at which this process can be reached from every place."""
    note: str
    """What a person should know about it."""

    def add(self) -> Host:
        """A new place."""
        ...


class Namespaces:
    """Places on one bridge, in 198.18.0.0/15, which is set aside for tests of networks."""

    def __init__(self, number: int) -> None:
        self._bridge = f"npd-{number}"
        self._subnet = f"198.18.{number}"
        self._places: list[Host] = []
        self.gateway = f"{self._subnet}.1"
        self.note = f"network namespaces, {self._subnet}.0/24"

    def open(self) -> None:
        """Make the bridge. Raises ``CalledProcessError``, also where the number is taken."""
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.gateway}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def add(self) -> Host:
        """A namespace with an address and a link to the bridge."""
        number = len(self._places) + 2
        name, address = f"{self._bridge}-{number}", f"{self._subnet}.{number}"
        _ip("netns", "add", name)
        place = Host(name, address, prefix=("ip", "netns", "exec", name), link=name)
        self._places.append(place)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", name, "master", self._bridge, "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        return place

    def close(self) -> None:
        """Remove what was made; processes that still run there lose their network."""
        for place in self._places:
            # Sockets of killed processes can hold a namespace for minutes, and with it the link.
            _ip("link", "delete", place.name, check=False)
            _ip("netns", "delete", place.name, check=False)
        _ip("link", "delete", self._bridge, check=False)


class Loopback:
    """Places with addresses of their own in 127.0.0.0/8."""

    gateway = "127.0.0.1"

    def __init__(self, why: str) -> None:
        self._last_bytes = itertools.count(2)
        self.note = f"loopback addresses, no link to cut ({why})"

    def add(self) -> Host:
        """The next address."""
        last_byte = next(self._last_bytes)
        return Host(name=f"node-{last_byte}", address=f"127.0.0.{last_byte}")


@contextmanager
def network(*, namespaces: bool = True) -> Iterator[Network]:
    """Namespaces where they are wanted and the machine allows them, else loopback addresses."""
    if not namespaces:
        yield Loopback("as asked")
        return
    why = _obstacle()
    if why is not None:
        yield Loopback(why)
        return
    made = _first_free()
    try:
        yield made
    finally:
        made.close()


def _obstacle() -> str | None:
    """Why this machine has no namespaces for us; None if it has."""
    if shutil.which("ip") is None:
        return "the command `ip` is not installed"
    name = f"npd-probe-{os.getpid()}"
    made = _ip("netns", "add", name, check=False)
    try:
        entered = _ip("netns", "exec", name, "ip", "link", "set", "lo", "up", check=False)
        linked = _ip(
            "link", "add", "npd-probe", "type", "veth", "peer", "eth0", "netns", name, check=False
        )
    finally:
        _ip("link", "delete", "npd-probe", check=False)
        _ip("netns", "delete", name, check=False)
    failed = [tried for tried in (made, entered, linked) if tried.returncode]
    return failed[0].stderr.strip() if failed else None


def _first_free() -> Namespaces:
    """Two runs on one machine take two subnets: making the bridge decides who has which."""
    for number in range(1, 255):
        made = Namespaces(number)
        try:
            made.open()
        except subprocess.CalledProcessError as error:
            if "File exists" in error.stderr:
                continue
            made.close()
            raise
        return made
    raise RuntimeError("all of 198.18.1.0 to 198.18.254.0 are in use by bridges npd-*")


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)
