"""Handler for SIGINT and SIGTERM: the first signal stops a build in order, the second at once."""

import signal
from collections.abc import Callable
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
        self.received: signal.Signals | None = None

    def __call__(self) -> bool:
        """Return True if the build was asked to stop."""
        return self.received is not None

    def interrupt_on_first(self) -> None:
        """Let the first signal interrupt too, because there is no running unit to wait for."""
        self._patient = False

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
        again, self.received = self.received is not None, signal.Signals(number)
        # Raised in a signal handler, the exception interrupts the main thread at once.
        if again or not self._patient:
            raise KeyboardInterrupt
        self._answer()
