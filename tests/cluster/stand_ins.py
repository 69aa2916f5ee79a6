"""Workers and tasks without a model: they succeed, fail and die as a test wants it.

Workers note every attempt and every commit as a file in one folder, as a store would hold receipts.
"""

import os
import secrets
import select
import threading
from contextlib import suppress
from pathlib import Path

from pipeline.cluster.summary import UnitSummary
from pipeline.errors import ModelError, PermanentStoreError, VerificationError
from pipeline.storage.receipts import Commit

BARRIER_TIMEOUT_S = 60


class Worker:
    """Commits every unit at its first attempt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set_up(self) -> None:
        """Nothing to load."""

    def run(self, unit: int) -> UnitSummary:
        (self._folder / f"attempt-{unit}-{secrets.token_hex(8)}").touch()
        self.compute(unit, len(attempts(self._folder, unit)))
        (self._folder / f"done-{unit}").touch()
        return UnitSummary(
            unit=unit,
            candidates=4,
            kept=2,
            rejected=2,
            failed=0,
            compute_seconds=0.0,
            commit=self.commit(unit),
        )

    def compute(self, unit: int, attempt: int) -> None:
        """What a subclass does in the attempt of this number, from 1."""

    def commit(self, unit: int) -> Commit:
        return Commit.MINE


def attempts(folder: Path, unit: int) -> list[Path]:
    return list(folder.glob(f"attempt-{unit}-*"))


def done(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("done-")) for path in folder.glob("done-*")}


class DiesOnce(Worker):
    """Its process ends in the first attempt at unit 3."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            os._exit(1)


class DiesOfUnit9(Worker):
    """Unit 9 ends the process whenever it is tried; unit 8 is there when it happens first."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 8 and attempt == 1:
            threading.Event().wait(BARRIER_TIMEOUT_S)
        if unit == 9:
            os._exit(1)


class FailsOnce(Worker):
    """The first attempt at every third unit fails."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit % 3 == 0 and attempt == 1:
            raise RuntimeError("out of luck")


class FailsAtUnit9(Worker):
    """No attempt at unit 9 succeeds."""

    def compute(self, unit: int, attempt: int) -> None:
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
