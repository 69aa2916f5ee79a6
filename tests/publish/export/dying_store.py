"""Exports that are interrupted, by a killed process or at any call on the target."""

import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

from pipeline.publish.export import export, specify_export
from pipeline.storage.open import open_store
from tests.faults.simulated.faulty_store import FaultyStore

T = TypeVar("T")


class Killed(BaseException):
    """End of the process; not an ``Exception``, so that no handler catches it."""


class DyingAt:
    """Store that counts calls; call number ``at`` and all later ones never return."""

    def __init__(self, at: int, die: Callable[[], None], *, after: bool = False) -> None:
        self.num_calls = 0
        self._at = at
        self._die = die
        self._after = after

    def make(self, method: str, key: str, effect: Callable[[], T]) -> T:
        self.num_calls += 1
        if not self._at or self.num_calls < self._at:
            return effect()
        if self._after and self.num_calls == self._at:
            effect()
        self._die()
        raise AssertionError("dead processes make no calls")


def raise_killed() -> None:
    raise Killed


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Export between URLs in a format, with the process killed at a call on the target."""
    url, out, format_name, at = sys.argv[1:]
    store, target = open_store(url), open_store(out)
    spec = specify_export(store, format_name, samples_per_file=4)
    export(store, FaultyStore(target, DyingAt(int(at), kill_this_process)), spec)


if __name__ == "__main__":
    main()
