"""Counts of the requests of this process to S3, with every attempt that botocore makes."""

import os
import threading
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_THROTTLED = (429, 503)
"""Statuses by which stores ask for fewer requests."""


class Result(StrEnum):
    """Result of one attempt."""

    OK = "ok"
    REFUSED = "refused"
    """Another 4xx, such as a condition that did not hold or an object that does not exist."""
    THROTTLED = "throttled"
    """503 or 429."""
    SERVER_ERROR = "server_error"
    """Another 5xx."""
    NO_REPLY = "no_reply"
    """No connection, a time limit, or a reply that was cut off."""


class RequestCounts:
    """Number of attempts by result, and of those that repeat a failed one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: Counter[Result] = Counter()
        self._retries = 0

    def add(self, result: Result, *, is_retry: bool) -> None:
        """Count one attempt."""
        with self._lock:
            self._results[result] += 1
            self._retries += is_retry

    def read(self) -> tuple[dict[Result, int], int]:
        """Return the attempts by result, and the retries."""
        with self._lock:
            return dict(self._results), self._retries


_counts = RequestCounts()


def _start_anew() -> None:
    global _counts
    _counts = RequestCounts()


# The lock of a forked process may be held by a thread that does not exist there.
os.register_at_fork(after_in_child=_start_anew)


def request_counts() -> tuple[dict[Result, int], int]:
    """Return the attempts of this process by result, and how many repeat a failed one."""
    return _counts.read()


def count_requests(client: "S3Client") -> None:
    """Count every attempt of ``client``."""
    # botocore emits this event after each attempt, in every retry mode.
    client.meta.events.register("needs-retry.s3", _count)


def _count(response: Any = None, attempts: int = 1, **_: Any) -> None:
    # The response is None without a reply, else a pair whose first part is botocore's.
    result = Result.NO_REPLY if response is None else _result(response[0].status_code)
    _counts.add(result, is_retry=attempts > 1)


def _result(status: int) -> Result:
    if status < 400:
        return Result.OK
    if status in _THROTTLED:
        return Result.THROTTLED
    return Result.REFUSED if status < 500 else Result.SERVER_ERROR
