"""Networks for the nodes of a cluster: a namespace per node, or loopback addresses.

In a namespace a node has its own address, its own loopback device and a link that can be cut. Where
the machine does not allow namespaces, nodes have different loopback addresses, and no links.
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
    """Address of one node, and how to run processes there."""

    name: str
    address: str
    prefix: tuple[str, ...] = ()
    """Words before a command that make it run on this host."""
    link: str | None = None
    """Device that carries all traffic of the host, or None if there is none to cut."""

    @property
    def source(self) -> str | None:
        """Source address of its requests, or None if all hosts share one."""
        return self.address if self.link else None

    def cut(self) -> None:
        """Drop all packets, without notice to either side."""
        assert self.link is not None
        _ip("link", "set", self.link, "down")

    def restore(self) -> None:
        """Forward packets again."""
        assert self.link is not None
        _ip("link", "set", self.link, "up")


class Network(Protocol):
    """Source of hosts."""

    gateway: str
    """Address at which every host reaches this process."""
    note: str
    """Description for the log."""

    def add(self) -> Host:
        """Return a new host."""
        ...


class Namespaces:
    """Hosts on one bridge, in 198.18.0.0/15, which is reserved for network tests."""

    def __init__(self, number: int) -> None:
        self._bridge = f"npd-{number}"
        self._subnet = f"198.18.{number}"
        self._hosts: list[Host] = []
        self.gateway = f"{self._subnet}.1"
        self.note = f"network namespaces, {self._subnet}.0/24"

    def open(self) -> None:
        """Make the bridge. Raises ``CalledProcessError``, also if the number is in use."""
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.gateway}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def add(self) -> Host:
        """Return a namespace with an address and a link to the bridge."""
        number = len(self._hosts) + 2
        name, address = f"{self._bridge}-{number}", f"{self._subnet}.{number}"
        _ip("netns", "add", name)
        host = Host(name, address, prefix=("ip", "netns", "exec", name), link=name)
        self._hosts.append(host)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", name, "master", self._bridge, "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        return host

    def close(self) -> None:
        """Remove namespaces and bridge. Processes that still run there lose their network."""
        for host in self._hosts:
            # Sockets of killed processes can hold a namespace for minutes, and with it the link.
            _ip("link", "delete", host.name, check=False)
            _ip("netns", "delete", host.name, check=False)
        _ip("link", "delete", self._bridge, check=False)


class Loopback:
    """Hosts with different addresses in 127.0.0.0/8."""

    gateway = "127.0.0.1"

    def __init__(self, why: str) -> None:
        self._last_bytes = itertools.count(2)
        self.note = f"loopback addresses, no link to cut ({why})"

    def add(self) -> Host:
        """Return a host with the next address."""
        last_byte = next(self._last_bytes)
        return Host(name=f"node-{last_byte}", address=f"127.0.0.{last_byte}")


@contextmanager
def network(*, namespaces: bool = True) -> Iterator[Network]:
    """Yield namespaces if they are requested and possible, else loopback addresses."""
    if not namespaces:
        yield Loopback("as asked")
        return
    why = _missing_support()
    if why is not None:
        yield Loopback(why)
        return
    made = _first_free()
    try:
        yield made
    finally:
        made.close()


def _missing_support() -> str | None:
    """Return the reason why this machine allows no namespaces, or None if it does."""
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
    """Return namespaces in the first free subnet.

    Two runs on one machine must not share a subnet. Creating the bridge is atomic and decides.
    """
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
    raise RuntimeError("bridges npd-* use all of 198.18.1.0 to 198.18.254.0")


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)
