"""Signals as the kernel sends them, to this process."""

import os
import signal
import subprocess
import sys

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


_WAIT_IN_C = """
import ctypes, os
from pipeline.cli.stop_signal import StopSignal

mutex, c = ctypes.create_string_buffer(64), ctypes.CDLL(None)
with StopSignal(lambda: os.write(1, b"stopping")) as stop:
    with stop.ending_at_once(lambda: os.write(1, b"stopped")):
        os.write(1, b"waiting\\n")
        # The second call never returns, and no handler of Python runs meanwhile.
        c.pthread_mutex_lock(mutex)
        c.pthread_mutex_lock(mutex)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_process_that_waits_in_c_code(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _WAIT_IN_C], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == b"stopped"
    assert process.returncode == 128 + number


def test_signal_after_the_start_is_noted_again() -> None:
    with StopSignal(lambda: None) as stop:
        with stop.ending_at_once(lambda: None):
            # As Ray does.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
    assert signal.set_wakeup_fd(-1) == -1


_INTERRUPTED_IMPORT = """
import os, signal, sys
from pipeline.cli.entry import main

# A shell starts background jobs with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "pipeline.cli.app":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
main()
"""


def test_interrupt_during_imports_ends_with_one_line() -> None:
    command = [sys.executable, "-c", _INTERRUPTED_IMPORT]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")
