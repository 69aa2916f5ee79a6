"""Unusual environments: a full disk, another user, a read-only mount, no file locks.

``in_fork`` runs a function in a forked process. Its changes there, such as user, limits and mounts,
end with that process.
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
"""A user id without an entry in passwd, and so without a home folder."""

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
    """Become another user without any groups of the first."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def mount_memory(folder: Path, num_bytes: int) -> None:
    """Mount a file system of ``num_bytes``, visible only to this process and its children."""
    _must(_LIBC.unshare(_CLONE_NEWNS))
    _must(_LIBC.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    size = f"size={num_bytes}".encode()
    _must(_LIBC.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, size))


def remount_read_only(folder: Path) -> None:
    """Make a mount of ``mount_memory`` read-only."""
    _must(_LIBC.mount(b"none", bytes(folder), None, _MS_REMOUNT | _MS_RDONLY, None))


def can_mount(folder: Path) -> bool:
    """Return True if ``mount_memory`` works on this machine."""
    try:
        in_fork(mount_memory, folder, 4096)
    except PermissionError:
        return False
    return True


def refuse_flock(code: int = errno.ENOLCK) -> None:
    """Make ``flock`` fail from now on, as on network file systems without locks.

    A seccomp filter of four instructions returns the error for flock and allows other calls.
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
"""Maps a machine type to the number of the system call ``flock``."""


def _must(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
