"""Signals as the kernel sends them, to this process."""

import os
import signal

import pytest

from pipeline.cli.stop_signal import StopSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted_and_the_second_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    answers: list[str] = []
    with StopSignal(lambda: answers.append("stopping")) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert answers == ["stopping"]
        assert stop.exit_code == 128 + number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert answers == ["stopping"]
    assert signal.getsignal(number) is before


def test_signal_interrupts_at_once_where_there_is_nothing_to_wait_for() -> None:
    with StopSignal(lambda: None) as stop:
        stop.interrupt_on_first()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.exit_code == 128 + signal.SIGTERM
