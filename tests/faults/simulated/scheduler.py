"""Simulated processes that take turns: a seed decides whose, so a run can be repeated exactly.

Each process is a thread of its own, because the code under test is ordinary blocking code, but one
thread runs at a time: it hands over at every store call, and nowhere else.
"""

import random
import threading
from collections.abc import Callable, Iterator

_DEADLOCK_S = 60
"""How long one run may take before it counts as stuck in something that is no store call."""


class Crash(BaseException):
    """The process has ended. Not an ``Exception``: nothing in it may catch this and go on."""


class Process:
    """One simulated process. When it crashes, so do those that it started."""

    def __init__(self, name: str, body: Callable[[], None], parent: "Process | None") -> None:
        self.name = name
        self.children: list[Process] = []
        self.ended = False
        self.crashed = False
        self.error: BaseException | None = None
        """What it raised, which no process should."""
        self.body = body
        self.ready = _always
        self.stalled = False
        self.turn = _taken_lock()
        if parent is not None:
            parent.children.append(self)

    def family(self) -> "Iterator[Process]":
        """The process and all that it started."""
        yield self
        for child in self.children:
            yield from child.family()


class Scheduler:
    """Runs processes one at a time; ``seed`` fixes the order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._main = _taken_lock()
        self.processes: list[Process] = []
        self.running: Process | None = None
        """Whose turn it is; None while nothing of the simulation runs."""

    def start(self, name: str, body: Callable[[], None]) -> Process:
        """Add a process, a child of the one that is running; it begins when its turn comes."""
        process = Process(name, body, self.running)
        self.processes.append(process)
        threading.Thread(target=self._live, args=(process,), name=name, daemon=True).start()
        return process

    def run(self) -> None:
        """Let the processes take turns until none can go on: they ended, or wait for something."""
        assert self.running is None, "called from outside the simulation"
        self._hand_over()
        if not self._main.acquire(timeout=_DEADLOCK_S):
            raise TimeoutError(f"{self.running} does not hand over: is it waiting for a lock?")

    def yield_turn(self) -> None:
        """Called by a process before every store call: anyone may go on in its place."""
        self.wait(_always)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Called by a process: let others go on until ``ready``, and then still by chance."""
        process = self.current()
        process.ready = ready
        self._park(process)

    def stall(self) -> None:
        """Called by a process: let the others go on until none of them can."""
        process = self.current()
        process.stalled, process.ready = True, _always
        self._park(process)

    def current(self) -> Process:
        """The process that is running. Raises ``Crash`` in one that should not any more."""
        assert self.running is not None, "called from within the simulation"
        if self.running.crashed:
            raise Crash
        return self.running

    def crash(self, process: Process) -> None:
        """End a process and all that it started; raises ``Crash`` if that is who calls."""
        for member in process.family():
            member.crashed = True
        if self.running is not None:
            self.current()

    def crash_all(self) -> None:
        """A power cut: every process ends. Called by a process, which ends with them."""
        for process in self.processes:
            process.crashed = True
        self.current()

    def close(self) -> None:
        """End what is left, from outside."""
        for process in self.processes:
            process.crashed = True
        self.run()

    def _live(self, process: Process) -> None:
        process.turn.acquire()
        try:
            if not process.crashed:
                process.body()
        except Crash:
            pass
        # Kept for the harness, which reports it: a process has no caller to raise to.
        except BaseException as error:
            process.error = error
        process.ended = True
        self._hand_over()

    def _park(self, process: Process) -> None:
        self._hand_over()
        process.turn.acquire()
        self.current()

    def _hand_over(self) -> None:
        self.running = self._next()
        (self.running.turn if self.running else self._main).release()

    def _next(self) -> Process | None:
        alive = [process for process in self.processes if not process.ended]
        for process in alive:
            if process.crashed:  # its thread unwinds before anything else happens
                return process
        able = [process for process in alive if not process.stalled and process.ready()]
        if able:
            return self._random.choice(able)
        stalled = [process for process in alive if process.stalled]
        for process in stalled:
            process.stalled = False
        return stalled[0] if stalled else None


def _always() -> bool:
    return True


def _taken_lock() -> threading.Lock:
    """Released once for each turn and taken again by whose turn it is."""
    lock = threading.Lock()
    lock.acquire()
    return lock
