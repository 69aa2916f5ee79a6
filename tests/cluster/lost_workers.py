"""Stand-in workers whose process ends or is asked to leave."""

import os
import threading

from tests.cluster.stand_ins import BARRIER_TIMEOUT_S, Worker, attempts


class DiesOnce(Worker):
    """Its process ends in the first attempt at unit 3."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            os._exit(1)


class DiesOfUnit9(Worker):
    """Every attempt and probe of unit 9 ends the process; the first one while unit 8 runs too."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 8 and attempt == 1:
            threading.Event().wait(BARRIER_TIMEOUT_S)

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        if unit == 9:
            # If the process ended before unit 8 has recorded its attempt, the retry of unit 8 would
            # count as its first attempt and wait for the complete timeout.
            while not attempts(self._folder, 8):
                threading.Event().wait(0.01)
            os._exit(1)


class DiesOfCandidates(Worker):
    """Two candidates of unit 3 end the process, and one raises an error."""

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        if unit == 3 and live & {1, 6}:
            os._exit(1)
        if unit == 3 and 4 in live:
            raise ArithmeticError("candidate 4 has no solution")


class DiesTwiceOfCandidate(Worker):
    """Candidate 5 of unit 3 ends the process twice and then succeeds."""

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        mark = self._folder / f"death-{len(list(self._folder.glob('death-*')))}"
        if unit == 3 and 5 in live and mark.name != "death-2":
            mark.touch()
            os._exit(1)


class DiesLoading(Worker):
    """There is not enough memory for the models."""

    def set_up(self) -> None:
        os._exit(1)


class LeavesOnce(Worker):
    """The machine shuts down in the middle of unit 3."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            self.leave()
            self._heartbeat.tick()


class WaitsToLeave(Worker):
    """Unit 2 is computed until the worker is asked to leave, while unit 3 is uploaded."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 2 and attempt == 1:
            while True:
                self._heartbeat.tick()
                threading.Event().wait(0.01)
        if unit == 3 and attempt == 1:
            while not self._heartbeat.leaving:
                threading.Event().wait(0.01)
