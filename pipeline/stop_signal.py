"""SIGINT and SIGTERM: the first asks a build to end in order, the second ends it at once."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Inside this context a first signal is noted and answered; only the next one interrupts.

    Both are safe at any point: what counts is in the store, and the store is never in between.
    """

    def __init__(self, answer: Callable[[], None]) -> None:
        self._answer = answer
        self._before: dict[signal.Signals, Any] = {}
        self._patient = True
        self.received: signal.Signals | None = None

    def __call__(self) -> bool:
        """Whether the build was asked to stop."""
        return self.received is not None

    def be_quick(self) -> None:
        """From here on there is nothing to wait for: the first signal interrupts too."""
        self._patient = False

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that ended by this signal."""
        return 128 + (self.received or signal.SIGINT)

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
        if again or not self._patient:
            raise KeyboardInterrupt
        self._answer()
