"""Faults of the connection between cluster and store: resets, 503s, delays, held receipts."""

import random
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock
from typing import TYPE_CHECKING

from tests.faults.real.fault import Struck
from tests.faults.real.gate import RECEIPT
from tests.storage.proxy import HangUpError, Link
from tests.waiting import pause

if TYPE_CHECKING:
    from tests.faults.real.rig import Rig


_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>busy</Message></Error>"
_BUSY_REPLY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_BUSY), _BUSY)
)
_MAX_RESET_BYTES = {"up": 60_000, "down": 1_500}
"""About one unit and about two replies, so that resets hit headers, bodies and gaps."""


class Resets:
    """Resets of connections after given numbers of bytes in one direction, each used once."""

    def __init__(self, numbers: list[int], direction: str) -> None:
        self._numbers = list(numbers)
        self._times = len(numbers)
        self._direction = direction
        self._passed: dict[Link, int] = {}
        self._lock = Lock()

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Forward all, or a part and then hang up."""
        return self._count(link, data, link.upstream) if self._direction == "up" else data

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Forward all, or a part and then hang up."""
        return self._count(link, data, link.client) if self._direction == "down" else data

    def has_struck(self) -> bool:
        """Return True if any connection was reset."""
        return len(self._numbers) < self._times

    def is_spent(self) -> bool:
        """Return True if every number has been used."""
        return not self._numbers

    def _count(self, link: Link, data: bytes, onward: socket.socket) -> bytes:
        with self._lock:
            before = self._passed.get(link, 0)
            self._passed[link] = before + len(data)
            if not self._numbers or self._passed[link] <= self._numbers[0]:
                return data
            room = max(self._numbers.pop(0) - before, 0)
        onward.sendall(data[:room])
        link.reset()
        raise HangUpError


class Busy:
    """503 replies to the next ``times`` requests, which never reach the store."""

    def __init__(self, times: int) -> None:
        self._counter = _Counter(times)

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Forward, or answer 503."""
        if data is not link.request or not self._counter.take():
            return data
        link.client.sendall(_BUSY_REPLY)
        with suppress(OSError):
            # Closing with an unread body resets the connection, and the client loses the answer.
            link.client.shutdown(socket.SHUT_WR)
            while link.client.recv(65536):
                continue
        raise HangUpError

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Forward."""
        return data

    def has_struck(self) -> bool:
        """Return True if any request was affected."""
        return self._counter.is_begun()

    def is_spent(self) -> bool:
        """Return True if all faults have been used."""
        return self._counter.is_spent()


class Slow:
    """Delay of the next ``times`` pieces of replies by ``seconds``."""

    def __init__(self, times: int, seconds: float) -> None:
        self._counter = _Counter(times)
        self._seconds = seconds

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Forward."""
        return data

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Forward, possibly after a delay."""
        if self._counter.take():
            pause(self._seconds)
        return data

    def has_struck(self) -> bool:
        """Return True if any request was affected."""
        return self._counter.is_begun()

    def is_spent(self) -> bool:
        """Return True if all faults have been used."""
        return self._counter.is_spent()


class Hold:
    """Delay of all receipts, between a unit's upload and its commit, until ``release``."""

    def __init__(self) -> None:
        self._units: set[int] = set()
        self._released = Event()

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Forward at once, receipts after ``release``."""
        if data is link.request and (receipt := RECEIPT.match(data)):
            self._units.add(int(receipt[2]))
            self._released.wait()
        return data

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Forward."""
        return data

    def num_units(self) -> int:
        """Return the number of units whose receipts are held."""
        return len(self._units)

    def release(self) -> None:
        """Forward the held receipts, also of senders that are dead, and hold no more."""
        self._released.set()


class _Counter:
    """A limited number of uses, shared by threads."""

    def __init__(self, times: int) -> None:
        self._times = self._left = times
        self._lock = Lock()

    def take(self) -> bool:
        with self._lock:
            taken = self._left > 0
            self._left -= taken
        return taken

    def is_begun(self) -> bool:
        return self._left < self._times

    def is_spent(self) -> bool:
        return self._left == 0


WireFault = Resets | Busy | Slow


class WireTrouble:
    """A fault that the gate applies until ``heal``."""

    kills = False
    outage_s = (1.0, 5.0)

    def __init__(self, name: str, draw: Callable[[random.Random], tuple[WireFault, str]]) -> None:
        self.name = name
        self._draw = draw
        self._trouble: WireFault | None = None

    def strike(self, rig: "Rig", chance: random.Random) -> Struck:
        """Apply the fault from now on."""
        self._trouble, what = self._draw(chance)
        rig.gate.trouble = self._trouble
        return Struck(what)

    def heal(self, rig: "Rig") -> bool:
        """Remove the fault. Return False if no request was affected."""
        trouble, rig.gate.trouble = self._trouble, None
        return trouble is not None and trouble.has_struck()


def resets(direction: str) -> WireTrouble:
    """Return resets of connections, ``up`` (in requests) or ``down`` (in replies)."""

    def draw(chance: random.Random) -> tuple[WireFault, str]:
        numbers = [chance.randrange(_MAX_RESET_BYTES[direction]) for _ in range(6)]
        return Resets(numbers, direction), f"after {', '.join(map(str, numbers))} bytes"

    return WireTrouble(f"connections reset, {direction}", draw)


def busy() -> WireTrouble:
    """Return 503 replies."""

    def draw(chance: random.Random) -> tuple[WireFault, str]:
        times = chance.randint(3, 12)
        return Busy(times), f"{times} requests"

    return WireTrouble("503s", draw)


def slow() -> WireTrouble:
    """Return delayed answers."""

    def draw(chance: random.Random) -> tuple[WireFault, str]:
        times, seconds = chance.randint(2, 6), round(chance.uniform(0.5, 3.0), 1)
        return Slow(times, seconds), f"{times} answers by {seconds} s"

    return WireTrouble("slow answers", draw)
