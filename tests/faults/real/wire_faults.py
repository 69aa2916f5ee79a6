"""Trouble on the wire between cluster and store, for the next few requests or connections."""

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
"""About a unit and about two replies, so that resets fall into heads and bodies and between."""


class Resets:
    """Resets connections after so many bytes in one direction; each number is used once."""

    def __init__(self, numbers: list[int], direction: str) -> None:
        self._numbers = list(numbers)
        self._times = len(numbers)
        self._direction = direction
        self._passed: dict[Link, int] = {}
        self._lock = Lock()

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Pass on, or only a part and hang up."""
        return self._count(link, data, link.upstream) if self._direction == "up" else data

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Pass on, or only a part and hang up."""
        return self._count(link, data, link.client) if self._direction == "down" else data

    def has_struck(self) -> bool:
        """Whether any connection was reset."""
        return len(self._numbers) < self._times

    def is_spent(self) -> bool:
        """Whether every number has been used."""
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
    """Answers 503 to the next ``times`` requests, which the store never sees."""

    def __init__(self, times: int) -> None:
        self._ration = _Ration(times)

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Pass on, or refuse."""
        if data is not link.request or not self._ration.take():
            return data
        link.client.sendall(_BUSY_REPLY)
        with suppress(OSError):
            # Closed with its body unread, the connection would be reset and the answer be lost.
            link.client.shutdown(socket.SHUT_WR)
            while link.client.recv(65536):
                continue
        raise HangUpError

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Pass on."""
        return data

    def has_struck(self) -> bool:
        """Whether any request was met."""
        return self._ration.is_begun()

    def is_spent(self) -> bool:
        """Whether it has struck as often as it may."""
        return self._ration.is_spent()


class Slow:
    """Holds each of the next ``times`` pieces of replies back for ``seconds``."""

    def __init__(self, times: int, seconds: float) -> None:
        self._ration = _Ration(times)
        self._seconds = seconds

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Pass on."""
        return data

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Pass on, at once or later."""
        if self._ration.take():
            pause(self._seconds)
        return data

    def has_struck(self) -> bool:
        """Whether any request was met."""
        return self._ration.is_begun()

    def is_spent(self) -> bool:
        """Whether it has struck as often as it may."""
        return self._ration.is_spent()


class Hold:
    """Holds receipts back, between a unit's upload and its commit, until released."""

    def __init__(self) -> None:
        self._units: set[int] = set()
        self._released = Event()

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Pass on; receipts later."""
        if data is link.request and (receipt := RECEIPT.match(data)):
            self._units.add(int(receipt[2]))
            self._released.wait()
        return data

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Pass on."""
        return data

    def num_units(self) -> int:
        """How many units are on their way."""
        return len(self._units)

    def release(self) -> None:
        """Pass on what was held, also where its sender is dead by now, and hold no more."""
        self._released.set()


class _Ration:
    """A number of times, shared by threads."""

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
    """A fault that is made of trouble at the gate, until healed."""

    kills = False
    outage_s = (1.0, 5.0)

    def __init__(self, name: str, draw: Callable[[random.Random], tuple[WireFault, str]]) -> None:
        self.name = name
        self._draw = draw
        self._trouble: WireFault | None = None

    def strike(self, rig: "Rig", chance: random.Random) -> Struck:
        """From now on."""
        self._trouble, what = self._draw(chance)
        rig.gate.trouble = self._trouble
        return Struck(what)

    def heal(self, rig: "Rig") -> bool:
        """The wire is good again."""
        trouble, rig.gate.trouble = self._trouble, None
        return trouble is not None and trouble.has_struck()


def resets(direction: str) -> WireTrouble:
    """Connections that are reset, ``up`` (requests) or ``down`` (replies)."""

    def draw(chance: random.Random) -> tuple[WireFault, str]:
        numbers = [chance.randrange(_MAX_RESET_BYTES[direction]) for _ in range(6)]
        return Resets(numbers, direction), f"after {', '.join(map(str, numbers))} bytes"

    return WireTrouble(f"connections reset, {direction}", draw)


def busy() -> WireTrouble:
    """503s."""

    def draw(chance: random.Random) -> tuple[WireFault, str]:
        times = chance.randint(3, 12)
        return Busy(times), f"{times} requests"

    return WireTrouble("503s", draw)


def slow() -> WireTrouble:
    """Slow answers."""

    def draw(chance: random.Random) -> tuple[WireFault, str]:
        times, seconds = chance.randint(2, 6), round(chance.uniform(0.5, 3.0), 1)
        return Slow(times, seconds), f"{times} answers by {seconds} s"

    return WireTrouble("slow answers", draw)
