"""Handler for SIGINT and SIGTERM: the first signal stops a build in order, the second at once."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from pipeline.cli.exit_codes import ExitCode

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Context in which the first signal requests a stop and the second raises KeyboardInterrupt.

    ``answer`` is called on the first signal. Both signals are safe at any point, because commits to
    the store are atomic.
    """

    def __init__(self, answer: Callable[[], None]) -> None:
        self._answer = answer
        self._before: dict[signal.Signals, Any] = {}
        self._patient = True
        self._ends_at_once = False
        self.received: signal.Signals | None = None

    def __call__(self) -> bool:
        """Return True if the build was asked to stop."""
        return self.received is not None

    def interrupt_on_first(self) -> None:
        """Let the first signal interrupt too, because there is no running unit to wait for."""
        self._patient = False

    @contextmanager
    def ending_at_once(self, report: Callable[[], None]) -> Iterator[None]:
        """Let a signal end the process at once, after ``report``, even while C code runs.

        For the start of Ray, which replaces the handlers and waits in C code for as long as a
        minute for processes that the same signal has ended. Ray's processes end with this one.
        """
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        before = signal.set_wakeup_fd(sender.fileno())
        # Python writes the number of a signal when it arrives, and calls a handler only between two
        # instructions of the main thread.
        thread = threading.Thread(
            target=_wait_for_signal, args=(receiver, report), name="npd-signals", daemon=True
        )
        thread.start()
        self._ends_at_once = True
        try:
            yield
        finally:
            self._ends_at_once = False
            signal.set_wakeup_fd(before)
            sender.close()
            thread.join()
            receiver.close()
            for number in _SIGNALS:
                signal.signal(number, self._receive)

    @property
    def exit_code(self) -> ExitCode:
        """Exit code by the shell convention for a signal: 128 + its number."""
        return ExitCode(128 + (self.received or signal.SIGINT))

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._ends_at_once:
            return
        again, self.received = self.received is not None, signal.Signals(number)
        # Raised in a signal handler, the exception interrupts the main thread at once.
        if again or not self._patient:
            raise KeyboardInterrupt
        self._answer()


def _wait_for_signal(receiver: socket.socket, report: Callable[[], None]) -> None:
    """End the process when the number of a signal arrives; return at the end of the data."""
    while arrived := receiver.recv(1):
        if arrived[0] in _SIGNALS:
            report()
            # `sys.exit` would wait for the main thread.
            os._exit(128 + arrived[0])
