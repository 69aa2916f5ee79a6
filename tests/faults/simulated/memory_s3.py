"""Faults at the level of the S3 client: the boto3 calls of ``S3Store``, over objects in memory.

Answers and errors have botocore's format, with the codes and statuses of Amazon's documentation.
``tests/storage`` tests ``S3Store`` against a real server.
"""

import io
from collections.abc import Callable, Iterator
from hashlib import md5
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.response import StreamingBody

from tests.faults.simulated.faulty_store import Caller, Fault
from tests.faults.simulated.memory_store import Objects, StoredObject

T = TypeVar("T")
Answer = dict[str, Any]

CLIENT_FAULTS = (
    Fault.REPLY_LOST,
    Fault.OWN_WRITE_REFUSED,
    Fault.CONFLICT,
    Fault.REFUSED,
    Fault.BUSY,
    Fault.SLOW_BEFORE,
    # Crashes are missing: between two requests they equal a crash at a store call.
)

ENDPOINT = "http://memory"

_CODES = {
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    503: "SlowDown",
}


class MemoryS3:
    """Client of one bucket, which makes every request through ``calls`` if given."""

    def __init__(self, objects: Objects, calls: Caller | None = None) -> None:
        self.meta = _Meta()
        self._objects = objects
        self._calls = calls

    def get_object(self, *, Bucket: str, Key: str, Range: str | None = None) -> Answer:
        return self._request("get_object", Key, lambda: self._get(Key, Range))

    def head_object(self, *, Bucket: str, Key: str) -> Answer:
        return self._request("head_object", Key, lambda: self._head(Key))

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: bytes,
        IfNoneMatch: str | None = None,
        IfMatch: str | None = None,
    ) -> Answer:
        return self._request("put_object", Key, lambda: self._put(Key, Body, IfNoneMatch, IfMatch))

    def delete_object(self, *, Bucket: str, Key: str) -> Answer:
        return self._request("delete_object", Key, lambda: self._delete(Key))

    def get_paginator(self, name: str) -> "_Pages":
        assert name == "list_objects_v2"
        return _Pages(self._list_page)

    def _list_page(self, prefix: str, after: str, size: int) -> list[Answer]:
        return self._request("list_objects_v2", prefix, lambda: self._list(prefix, after, size))

    def _request(self, method: str, key: str, effect: Callable[[], T]) -> T:
        return effect() if self._calls is None else self._calls.make(method, key, effect)

    def _get(self, key: str, byte_range: str | None) -> Answer:
        found = self._found("GetObject", key)
        data, sent = found.data, {}
        if byte_range is not None:
            first, _, last = byte_range.removeprefix("bytes=").partition("-")
            if int(first) >= len(data):
                raise _client_error("GetObject", 416, "InvalidRange")
            data = data[int(first) : int(last) + 1]
            end = int(first) + len(data) - 1
            sent = {"ContentRange": f"bytes {first}-{end}/{len(found.data)}"}
        body = StreamingBody(io.BytesIO(data), len(data))
        return {"Body": body, "ETag": found.etag, "ContentLength": len(data), **sent}

    def _head(self, key: str) -> Answer:
        found = self._found("HeadObject", key)
        return {"ContentLength": len(found.data), "LastModified": found.modified}

    def _put(
        self, key: str, body: bytes, if_none_match: str | None, if_match: str | None
    ) -> Answer:
        if if_match is not None and self._objects.get(key) is None:
            raise client_error("PutObject", 404)
        absent = if_none_match == "*"
        if not self._objects.put(key, body, if_absent=absent, if_etag=if_match):
            raise client_error("PutObject", 412)
        return {"ETag": f'"{md5(body).hexdigest()}"'}

    def _delete(self, key: str) -> Answer:
        self._objects.delete(key)
        return {}

    def _list(self, prefix: str, after: str, size: int) -> list[Answer]:
        entries: list[Answer] = []
        for key in self._objects.keys(prefix):
            found = self._objects.get(key)
            if key > after and found and len(entries) < size:
                entries.append(
                    {"Key": key, "Size": len(found.data), "LastModified": found.modified}
                )
        return entries

    def _found(self, operation: str, key: str) -> StoredObject:
        found = self._objects.get(key)
        if found is None:
            # The answer to HEAD has no body, so botocore reports the status as the code.
            raise _client_error(operation, 404, "404" if operation == "HeadObject" else "NoSuchKey")
        return found


class _Pages:
    """Paginator of a listing. Each page is one request."""

    def __init__(self, page: Callable[[str, str, int], list[Answer]]) -> None:
        self._page = page

    def paginate(
        self, *, Bucket: str, Prefix: str, PaginationConfig: dict[str, int]
    ) -> Iterator[Answer]:
        size, after = PaginationConfig["PageSize"], ""
        while True:
            entries = self._page(Prefix, after, size)
            more = len(entries) == size
            yield {"IsTruncated": more, **({"Contents": entries} if entries else {})}
            if not more:
                return
            after = entries[-1]["Key"]


class _Meta:
    endpoint_url = ENDPOINT
    config = Config()


def failing_client(fault: Fault, method: str, key: str) -> Any:
    """Raise botocore's error for a fault that outlasts its retries."""
    if fault is Fault.REPLY_LOST:
        raise ReadTimeoutError(endpoint_url=ENDPOINT)
    status = 412 if fault is Fault.OWN_WRITE_REFUSED else int(fault)
    raise client_error(method, status)


def client_error(operation: str, status: int) -> ClientError:
    """Return an error with this HTTP status."""
    return _client_error(operation, status, _CODES[status])


def _client_error(operation: str, status: int, code: str) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": "simulated"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, operation)
