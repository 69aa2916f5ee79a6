"""Other environments for a test: a full disk, another user, a mount that is read-only, no locks.

``in_fork`` runs a function in a forked process. What the function changes there, such as its user,
its limits and its mounts, ends with that process.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import pytest

NOBODY = 65534
STRANGER = 54321
"""A user whom no passwd file knows, so that no home is known either."""

_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_REMOUNT, _MS_REC, _MS_PRIVATE = 1, 32, 16384, 1 << 18
_LIBC = ctypes.CDLL(None, use_errno=True)

_Made = TypeVar("_Made")


def in_fork(function: Callable[..., _Made], *arguments: object) -> _Made:
    """Return what a function returns in a forked process, or raise what it raises there."""
    with ProcessPoolExecutor(1, get_context("fork")) as process:
        return process.submit(function, *arguments).result()


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")


def become(user: int) -> None:
    """Run on as another user, without any group of the first."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def mount_memory(folder: Path, num_bytes: int) -> None:
    """Mount a file system of so many bytes, which this process and its children alone see."""
    _must(_LIBC.unshare(_CLONE_NEWNS))
    _must(_LIBC.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    size = f"size={num_bytes}".encode()
    _must(_LIBC.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, size))


def remount_read_only(folder: Path) -> None:
    """Make what ``mount_memory`` mounted read-only."""
    _must(_LIBC.mount(b"none", bytes(folder), None, _MS_REMOUNT | _MS_RDONLY, None))


def can_mount(folder: Path) -> bool:
    """Whether ``mount_memory`` works here."""
    try:
        in_fork(mount_memory, folder, 4096)
    except PermissionError:
        return False
    return True


def refuse_flock(code: int = errno.ENOLCK) -> None:
    """Let the kernel refuse ``flock`` from now on, as network file systems without locks do.

    A seccomp filter of four instructions: if the call is flock, return the error; else allow.
    """
    (load, equals, give) = (0x20, 0x15, 0x06)  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    (allow, fail) = (0x7FFF0000, 0x00050000)
    program = b"".join(
        struct.pack("HBBI", *step)
        for step in (
            (load, 0, 0, 0),
            (equals, 0, 1, FLOCK[platform.machine()]),
            (give, 0, 0, fail | code),
            (give, 0, 0, allow),
        )
    )
    steps = ctypes.create_string_buffer(program)
    filters = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(steps))
    (no_new_privileges, set_seccomp, by_filter) = (38, 22, 2)
    _must(_LIBC.prctl(no_new_privileges, 1, 0, 0, 0))
    _must(_LIBC.prctl(set_seccomp, by_filter, filters, 0, 0))


FLOCK = {"x86_64": 73, "aarch64": 32}
"""Number of the system call ``flock`` by machine."""


def _must(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
