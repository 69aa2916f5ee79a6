"""Workers and tasks without a model: they succeed, fail and die as a test wants it.

Workers note every attempt and every commit as a file in one folder, as a store would hold receipts.
"""

import json
import os
import secrets
import select
import signal
import threading
from contextlib import suppress
from pathlib import Path

import ray

from pipeline.cluster.pulse import Pulse
from pipeline.cluster.summary import Sign, UnitSummary
from pipeline.cluster.work import Work
from pipeline.errors import (
    DeviceError,
    DeviceMemoryError,
    ModelError,
    PermanentStoreError,
    VerificationError,
)
from pipeline.storage.receipts import Commit

BARRIER_TIMEOUT_S = 60

SIZE = 8
"""Candidates in a unit."""


class Worker:
    """Commits every unit at its first attempt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pulse = Pulse()

    def set_up(self) -> None:
        """Nothing to load."""

    def sign_of_life(self) -> Sign:
        return Sign(
            count=self._pulse.count,
            leaving=self._pulse.leaving,
            node=ray.get_runtime_context().get_node_id(),
        )

    def leave(self) -> None:
        self._pulse.leave()

    def run(self, work: Work) -> UnitSummary | None:
        self._pulse.beat()
        number = f"{work.unit}-{secrets.token_hex(8)}"
        (self._folder / f"{'trial' if work.trial is not None else 'attempt'}-{number}").touch()
        live = (set(range(SIZE)) if work.trial is None else set(work.trial)) - set(work.guilty)
        self.compute_candidates(work.unit, live)
        if work.trial is not None:
            return None
        self.compute(work.unit, len(attempts(self._folder, work.unit)))
        (self._folder / f"done-{work.unit}").write_text(
            json.dumps({position: fault.kind for position, fault in work.guilty.items()})
        )
        return UnitSummary(
            unit=work.unit,
            candidates=SIZE,
            kept=2,
            rejected=2,
            failed=len(work.guilty),
            compute_seconds=0.0,
            commit=self.commit(work.unit),
        )

    def compute(self, unit: int, attempt: int) -> None:
        """What a subclass does in the attempt of this number, from 1."""

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        """What a subclass does with the candidates at these positions."""

    def commit(self, unit: int) -> Commit:
        return Commit.MINE


def attempts(folder: Path, unit: int) -> list[Path]:
    return list(folder.glob(f"attempt-{unit}-*"))


def trials(folder: Path, unit: int) -> list[Path]:
    return list(folder.glob(f"trial-{unit}-*"))


def done(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("done-")) for path in folder.glob("done-*")}


def guilty(folder: Path, unit: int) -> dict[int, str]:
    """What the receipt of a unit says of candidates that were left out: position and kind."""
    found = json.loads((folder / f"done-{unit}").read_text())
    return {int(position): kind for position, kind in found.items()}


class DiesOnce(Worker):
    """Its process ends in the first attempt at unit 3."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            os._exit(1)


class DiesOfUnit9(Worker):
    """Unit 9 ends the process whatever is tried of it; unit 8 is there when it happens first."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 8 and attempt == 1:
            threading.Event().wait(BARRIER_TIMEOUT_S)

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        if unit == 9:
            os._exit(1)


class DiesOfCandidates(Worker):
    """Two candidates of unit 3 end the process, and one raises an error."""

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        if unit == 3 and live & {1, 6}:
            os._exit(1)
        if unit == 3 and 4 in live:
            raise ArithmeticError("candidate 4 has no solution")


class DiesTwiceOfCandidate(Worker):
    """A machine's mood: after two deaths in unit 3, candidate 5 goes well."""

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        mark = self._folder / f"death-{len(list(self._folder.glob('death-*')))}"
        if unit == 3 and 5 in live and mark.name != "death-2":
            mark.touch()
            os._exit(1)


class OutOfMemory(Worker):
    """The GPU never holds unit 3."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3:
            raise DeviceMemoryError("batches of 4 candidates do not fit: lower [units] batch_size")


class GpuFailsOnce(Worker):
    """At the first attempt at unit 3 the GPU fails, and with it all that this process does."""

    _failed = False

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            self._failed = True
        if self._failed:
            raise DeviceError("cuda:0 failed: an illegal memory access was encountered")


class HangsOnce(Worker):
    """The first attempt at unit 3 never ends and never moves."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            threading.Event().wait(BARRIER_TIMEOUT_S)


class HangsAsAWhole(Worker):
    """The first attempt at unit 3 stops the process, so that it answers nothing."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            os.kill(os.getpid(), signal.SIGSTOP)


class MovesSlowly(Worker):
    """Unit 3 takes long, and shows that it goes on."""

    def compute(self, unit: int, attempt: int) -> None:
        for _ in range(30 if unit == 3 else 0):
            self._pulse.beat()
            threading.Event().wait(0.1)


class Straggles(Worker):
    """The first attempt at unit 3 goes on, but does not end in this test's life."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            for _ in range(10 * BARRIER_TIMEOUT_S):
                self._pulse.beat()
                threading.Event().wait(0.1)


class WaitsToLeave(Worker):
    """Unit 2 is computed until the worker is told to leave; unit 3 is being uploaded by then."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 2 and attempt == 1:
            while True:
                self._pulse.beat()
                threading.Event().wait(0.01)
        if unit == 3 and attempt == 1:
            while not self._pulse.leaving:
                threading.Event().wait(0.01)


class LeavesOnce(Worker):
    """Its machine goes down in the middle of unit 3."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            self.leave()
            self._pulse.beat()


class FailsOnce(Worker):
    """The first attempt at every third unit fails."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit % 3 == 0 and attempt == 1:
            raise RuntimeError("out of luck")


class FailsAtUnit9(Worker):
    """Nothing that is tried of unit 9 succeeds."""

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        if unit == 9:
            raise ArithmeticError("unit 9 has no solution")


class LosesItsBucket(Worker):
    """The store is gone for good when unit 3 wants it."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3:
            raise PermanentStoreError("cannot put s3://b/k: NoSuchBucket")


class WithoutModel(Worker):
    """A person has to put the model there."""

    def set_up(self) -> None:
        raise ModelError("/models/sd: no such model folder")


class WithBrokenModel(Worker):
    """Loading fails in a way that nobody foresaw."""

    def set_up(self) -> None:
        raise ArithmeticError("division by zero in the loader")


class DiesLoading(Worker):
    """There is not enough memory for the models."""

    def set_up(self) -> None:
        os._exit(1)


class CountsInFlight(Worker):
    """Its units go two by two, and it notes how many were there at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pair = threading.Barrier(2)
        self._lock = threading.Lock()
        self._now = 0

    def compute(self, unit: int, attempt: int) -> None:
        with self._lock:
            self._now += 1
            (self._folder / f"in-flight-{self._now}").touch()
        self._pair.wait(BARRIER_TIMEOUT_S)
        with self._lock:
            self._now -= 1


class Disagrees(Worker):
    """Unit 2 was committed by another attempt, with other bytes."""

    def commit(self, unit: int) -> Commit:
        return Commit.DIFFERENT if unit == 2 else Commit.MINE


def square(number: int) -> int:
    """A task that succeeds."""
    return number * number


def begin_in_pairs(item: tuple[Path, int]) -> int:
    """A task that, if its number is even, ends only after the next one has begun."""
    folder, number = item
    pipe = folder / f"pair-{number // 2}"
    with suppress(FileExistsError):  # the other one made it
        os.mkfifo(pipe)
    if number % 2:
        pipe.write_bytes(b"begun")  # waits until the other one has opened it
    else:
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        begun, _, _ = select.select([reader], [], [], BARRIER_TIMEOUT_S)
        os.close(reader)
        assert begun, f"task {number + 1} has not begun while task {number} runs"
    return number


def refuse_three(number: int) -> int:
    """A task that fails for one input."""
    if number == 3:
        raise VerificationError("units/three: not the bytes that its receipt promises")
    return number
