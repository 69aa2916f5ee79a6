"""Simulated processes that take turns in an order that a seed decides, so runs are repeatable.

Each process is a thread, because the code under test is ordinary blocking code. Only one thread
runs at a time. It hands over at every store call, and nowhere else.
"""

import random
import threading
from collections.abc import Callable, Iterator

_DEADLOCK_S = 60
"""Seconds after which a run counts as blocked outside of a store call."""


class Crash(BaseException):
    """End of a process. Not an ``Exception``, so that no code under test catches it."""


class Process:
    """One simulated process. When it crashes, so do those that it started."""

    def __init__(self, name: str, body: Callable[[], None], parent: "Process | None") -> None:
        self.name = name
        self.children: list[Process] = []
        self.ended = False
        self.crashed = False
        self.error: BaseException | None = None
        """Error that the process raised. None is expected."""
        self.body = body
        self.ready = _always
        self.stalled = False
        self.turn = _taken_lock()
        if parent is not None:
            parent.children.append(self)

    def family(self) -> "Iterator[Process]":
        """Yield the process and all processes that it started."""
        yield self
        for child in self.children:
            yield from child.family()


class Scheduler:
    """Scheduler that runs one process at a time, in an order that ``seed`` decides."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._main = _taken_lock()
        self.processes: list[Process] = []
        self.running: Process | None = None
        """Process whose turn it is. None outside of the simulation."""

    def start(self, name: str, body: Callable[[], None]) -> Process:
        """Add a process as a child of the running one. It begins at its first turn."""
        process = Process(name, body, self.running)
        self.processes.append(process)
        threading.Thread(target=self._live, args=(process,), name=name, daemon=True).start()
        return process

    def run(self) -> None:
        """Run the processes in turns until all have ended or wait for a condition."""
        assert self.running is None, "called from outside the simulation"
        self._hand_over()
        if not self._main.acquire(timeout=_DEADLOCK_S):
            raise TimeoutError(f"{self.running} does not hand over; it may wait for a lock")

    def yield_turn(self) -> None:
        """Let the scheduler choose the next process. A process calls it before every store call."""
        self.wait(_always)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Let other processes run until ``ready`` holds, and possibly longer."""
        process = self.current()
        process.ready = ready
        self._park(process)

    def stall(self) -> None:
        """Let the other processes run until none of them can continue."""
        process = self.current()
        process.stalled, process.ready = True, _always
        self._park(process)

    def current(self) -> Process:
        """Return the running process. Raises ``Crash`` if it has crashed."""
        assert self.running is not None, "called from within the simulation"
        if self.running.crashed:
            raise Crash
        return self.running

    def crash(self, process: Process) -> None:
        """End a process and its children. Raises ``Crash`` if the caller is one of them."""
        for member in process.family():
            member.crashed = True
        if self.running is not None:
            self.current()

    def crash_all(self) -> None:
        """End every process, including the one that calls, as a power cut does."""
        for process in self.processes:
            process.crashed = True
        self.current()

    def close(self) -> None:
        """End all remaining processes. Called from outside of the simulation."""
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
        # Kept for the report, because a simulated process has no caller.
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
            if process.crashed:  # its thread must unwind before another process runs
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
    """Return a lock that is released once per turn and acquired by the process of that turn."""
    lock = threading.Lock()
    lock.acquire()
    return lock
