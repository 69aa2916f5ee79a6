"""Stand-in workers that hang, progress slowly or finish late."""

import os
import signal
import threading

from tests.cluster.stand_ins import BARRIER_TIMEOUT_S, Worker


class HangsOnce(Worker):
    """The first attempt at unit 3 never ends and makes no progress."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            threading.Event().wait(BARRIER_TIMEOUT_S)


class HangsAsAWhole(Worker):
    """The first attempt at unit 3 stops the process, so it answers no call."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            os.kill(os.getpid(), signal.SIGSTOP)


class MovesSlowly(Worker):
    """Unit 3 takes long but makes progress."""

    def compute(self, unit: int, attempt: int) -> None:
        for _ in range(60 if unit == 3 else 0):
            self._heartbeat.tick()
            threading.Event().wait(0.1)


class TakesAMoment(Worker):
    """Each unit takes a moment and makes progress."""

    def compute(self, unit: int, attempt: int) -> None:
        self._heartbeat.tick()
        threading.Event().wait(0.05)


class Straggles(Worker):
    """The first attempt at unit 3 makes progress but does not end during the test."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            for _ in range(10 * BARRIER_TIMEOUT_S):
                self._heartbeat.tick()
                threading.Event().wait(0.1)
