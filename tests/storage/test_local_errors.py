"""Errors of disks, quotas and file servers, injected where no such disk can be had."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.core.errors import (
    PermanentStoreError,
    RetryableStoreError,
    StoreError,
    StoreFullError,
)
from pipeline.storage.local import LocalStore
from pipeline.storage.local_errors import machine_error

_KINDS = [
    (errno.EDQUOT, StoreFullError, "quota"),
    (errno.EFBIG, PermanentStoreError, "ulimit -f"),
    (errno.EIO, RetryableStoreError, "dmesg"),
    (errno.ESTALE, RetryableStoreError, "mount it again"),
    (errno.ETIMEDOUT, RetryableStoreError, "does not answer"),
]


@pytest.mark.parametrize(("number", "kind", "remedy"), _KINDS)
def test_write_that_the_file_system_fails_is_an_error_with_the_remedy(
    number: int,
    kind: type[StoreError],
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = LocalStore(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pipeline.storage.durable.os.fsync", fail)
    with pytest.raises(kind) as raised:
        store.put("units/a", b"data")
    assert type(raised.value) is kind
    assert f"cannot write {tmp_path}/units/a: {os.strerror(number)}; " in str(raised.value)
    assert remedy in str(raised.value)
    monkeypatch.undo()
    assert list(store.list("")) == []


@pytest.mark.parametrize(("number", "kind", "remedy"), _KINDS)
def test_file_of_this_machine_that_cannot_be_used_is_an_error_with_the_remedy(
    number: int, kind: type[StoreError], remedy: str
) -> None:
    named = machine_error(OSError(number, os.strerror(number), "/data/log.txt"))
    assert type(named) is kind
    assert f"/data/log.txt: {os.strerror(number)}" in str(named)
    assert remedy in str(named)


@pytest.mark.parametrize(("number", "kind", "remedy"), _KINDS)
def test_error_of_an_open_file_has_no_name_and_the_same_remedy(
    number: int, kind: type[StoreError], remedy: str
) -> None:
    unnamed = machine_error(OSError(number, os.strerror(number)))
    if number == errno.ETIMEDOUT:
        assert unnamed is None, "it could be the error of a connection"
    else:
        assert type(unnamed) is kind
        assert remedy in str(unnamed)
