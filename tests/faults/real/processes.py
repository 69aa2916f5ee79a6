"""Finding processes among those that one has started."""

from collections.abc import Iterator
from contextlib import suppress

import psutil


def worker_processes(ancestor: psutil.Process) -> Iterator[psutil.Process]:
    """The processes below ``ancestor`` that compute units."""
    return (each for each in descendants(ancestor) if title(each).startswith("ray::WorkerActor"))


def descendants(ancestor: psutil.Process) -> list[psutil.Process]:
    """All processes below it that live; none where it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [each for each in ancestor.children(recursive=True) if is_alive(each)]
    return []


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs, and is not a dead child that nobody has asked for yet."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def title(process: psutil.Process) -> str:
    """Its command line, which Ray's workers replace by what they do; empty where it has ended."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
