"""Namespaces have different addresses and links that can be cut, and leave nothing behind."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults.real.network import Host, Loopback, Namespaces, Network, network

_ECHO = """
import socket, sys
with socket.create_server((sys.argv[1], 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        client, _ = server.accept()
        client.sendall(b"here")
        client.close()
"""
_ASK = """
import socket, sys
address, port, timeout = sys.argv[1:]
with socket.create_connection((address, int(port)), timeout=float(timeout)) as server:
    sys.stdout.write(server.recv(10).decode())
"""


@pytest.fixture
def namespaces() -> Iterator[Network]:
    with network() as made:
        if isinstance(made, Loopback):
            pytest.skip(made.note)
        yield made


def _ask(place: Host, address: str, port: str, timeout_s: float) -> str:
    """Return the answer that a program on ``place`` receives from ``address``."""
    command = [*place.prefix, sys.executable, "-c", _ASK, address, port, str(timeout_s)]
    return subprocess.run(command, capture_output=True, text=True).stdout


def test_cut_link_drops_everything_until_it_is_restored(namespaces: Network) -> None:
    here, there = namespaces.add(), namespaces.add()
    command = [*there.prefix, sys.executable, "-c", _ECHO, there.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as echo:
        try:
            assert echo.stdout is not None
            port = echo.stdout.readline().strip()
            assert _ask(here, there.address, port, 30) == "here"
            there.cut()
            assert _ask(here, there.address, port, 0.3) == ""
            there.restore()
            assert _ask(here, there.address, port, 30) == "here"
        finally:
            echo.kill()


def test_namespaces_that_were_made_are_removed(namespaces: Network) -> None:
    assert isinstance(namespaces, Namespaces)
    place = namespaces.add()
    assert place.name in _listed()
    namespaces.close()
    assert place.name not in _listed()


def _listed() -> str:
    shown = [["ip", "netns", "list"], ["ip", "-brief", "link"]]
    return "".join(subprocess.check_output(command, text=True) for command in shown)


def test_without_namespaces_addresses_differ_and_the_reason_is_given() -> None:
    with network(namespaces=False) as made:
        places = [made.add() for _ in range(3)]
    assert len({place.address for place in places}) == 3
    assert all(place.link is None and place.prefix == () for place in places)
    assert "as asked" in made.note
