"""Object store in an S3-compatible bucket (``s3://bucket/prefix``).

Only this module and ``s3_*.py`` import boto3.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.core.errors import (
    ObjectNotFoundError,
    PermanentStoreError,
    RetryableStoreError,
    StoreError,
)
from pipeline.storage.object_store import (
    CHUNK_BYTES,
    MAX_OBJECT_BYTES,
    MAX_RECORD_BYTES,
    BytesContent,
    Content,
    FileContent,
    ObjectInfo,
    check_key,
    chunks,
    sha256_of,
)
from pipeline.storage.s3_client import make_client, making_client
from pipeline.storage.s3_errors import (
    broke_off,
    cause_of,
    code_of,
    is_conflict,
    is_refusal,
    is_unsettled,
    store_error,
    unreadable_reply,
)
from pipeline.storage.s3_replies import UNREADABLE_REPLY, body_of, info_of, listed, range_of
from pipeline.storage.s3_upload import upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

MULTIPART_BYTES = 64 * 1024 * 1024

PAGE_KEYS = 1000
"""Number of objects in one page of a listing; the maximum of S3."""

ATTEMPTS = 4
"""Number of tries where botocore does not retry: truncated bodies and write conflicts."""


def random_pause(attempt: int) -> None:
    """Sleep up to 0.2, 0.4, 0.8 s; random, so that colliding writers do not collide again."""
    time.sleep(random.uniform(0, 0.2 * 2**attempt))  # a busy store sends no hint of when to retry


class S3Store:
    """``ObjectStore`` for ``s3://`` URLs. May be shared by threads, pickled and forked.

    ``connect`` makes the client at the first call in each process, so constructing a store
    never fails. ``pause`` receives the number of the failed attempt, from 0, and waits.
    """

    parallel_requests = 16  # fewer than the connections of a client, which others use too

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        multipart_bytes: int = MULTIPART_BYTES,
        connect: "Callable[[], S3Client]" = make_client,
        pause: Callable[[int], None] = random_pause,
    ) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.multipart_bytes = multipart_bytes
        self._connect = connect
        self._pause = pause
        # No credentials, endpoint or query, so that the URL is safe in messages.
        self.url = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._client_of_process: tuple[int, S3Client] | None = None

    def __reduce__(self) -> tuple[Callable[..., "S3Store"], tuple[Any, ...]]:
        return partial(S3Store, **self._settings()), ()

    def with_multipart_bytes(self, multipart_bytes: int) -> "S3Store":
        """Return a copy of this store with another threshold for multipart uploads."""
        store = S3Store(**self._settings() | {"multipart_bytes": multipart_bytes})
        # The client does not depend on the threshold and is costly to make.
        store._client_of_process = self._client_of_process
        return store

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Return the object's bytes. Raises ``VerificationError`` for more than ``max_bytes``."""
        return self._call("get", key, lambda: self._read_body(key, max_bytes)[0])

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start``. Raises ``ObjectNotFoundError``."""
        try:
            return self._call("get", key, lambda: self._read_range(key, start, length))
        except StoreError as error:
            if code_of(error) == "InvalidRange":  # start lies at or behind the end
                return b""
            raise

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        """Return a JSON record and its ETag."""
        return self._call("get", key, lambda: self._read_body(key, MAX_RECORD_BYTES))

    def head(self, key: str) -> ObjectInfo | None:
        """Return size and time of an object, or None if object or bucket does not exist."""
        try:
            return self._call("head", key, lambda: self._read_head(key))
        except ObjectNotFoundError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Write durably and atomically; replace an existing object."""
        self._call("put", key, lambda: self._upload(key, BytesContent(data), {}))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write unless ``key`` exists; return True if the store now holds ``data`` under it."""
        return self._put_on_condition(key, BytesContent(data), {"IfNoneMatch": "*"})

    def put_file_if_absent(self, key: str, path: Path) -> bool:
        """Call ``put_if_absent`` with the content of a file of any size."""
        content = FileContent(path)
        if self.head(key) is not None:  # avoids a long upload; the conditional write decides
            return self._holds(key, content)
        return self._put_on_condition(key, content, {"IfNoneMatch": "*"})

    def put_if_version(self, key: str, data: bytes, version: str) -> bool:
        """Replace the object if its ETag is still ``version`` (compare and swap)."""
        return self._put_on_condition(key, BytesContent(data), {"IfMatch": version})

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield all objects whose key starts with ``prefix``, sorted by key (code points)."""
        # Sorted here, because not every store lists in byte order.
        found = self._call("list", prefix, lambda: [*self._listed(prefix)], check=False)
        yield from sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        """Remove an object; do nothing if it does not exist."""
        self._call("delete", key, lambda: self.client.delete_object(**self._target(key)))

    def _put_on_condition(self, key: str, content: Content, condition: dict[str, str]) -> bool:
        for attempt in range(ATTEMPTS):
            try:
                self._call_once("put", key, lambda: self._upload(key, content, condition))
                return True
            except StoreError as error:
                settled = self._settle(key, content, condition, error)
            if settled is not None:
                return settled
            self._pause(attempt)
        what = f"cannot put {self._where(key)}"
        raise RetryableStoreError(f"{what}: conditional writes kept colliding; run it again")

    def _settle(
        self, key: str, content: Content, condition: dict[str, str], error: StoreError
    ) -> bool | None:
        """Read the object to settle a failed conditional write; None means: try again.

        A reply can be lost after the write took place. botocore's retry is then refused because
        of the earlier try, and a completed multipart upload is reported as 'no such upload'.
        """
        if not is_unsettled(error):
            raise error
        try:
            if self._holds(key, content):
                return True
            absent = False
        except ObjectNotFoundError:
            absent = True
        except StoreError:
            raise error from error.__cause__  # more informative than the failed read
        swap = "IfMatch" in condition
        if not absent and not swap:
            return False  # another object was first
        if is_refusal(error):
            return False if swap else None  # None: the object that blocked the write was deleted
        if isinstance(error, ObjectNotFoundError):
            return False  # the object to replace does not exist
        if is_conflict(error):
            return None
        raise error

    def _holds(self, key: str, content: Content) -> bool:
        existing = self.head(key)
        if existing is None:
            raise ObjectNotFoundError(f"no object {key!r} in {self.url}")
        if existing.num_bytes != content.num_bytes:
            return False
        digest = sha256_of(chunks(content))
        return self._call("get", key, lambda: self._digest(key, content.num_bytes)) == digest

    def _upload(self, key: str, content: Content, condition: dict[str, str]) -> None:
        full_key = self._target(key)["Key"]
        upload(self.client, self.bucket, full_key, content, condition, self.multipart_bytes)

    def _read_body(self, key: str, max_bytes: int) -> tuple[bytes, str]:
        answer = self.client.get_object(**self._target(key))
        return body_of(answer, self._where(key), max_bytes), answer["ETag"]

    def _read_range(self, key: str, start: int, length: int) -> bytes:
        # A range in HTTP includes its end and cannot be empty, so one byte is requested for none.
        wanted = f"bytes={start}-{start + max(length, 1) - 1}"
        answer = self.client.get_object(**self._target(key), Range=wanted)
        return range_of(answer, self._where(key), start, max(length, 1))[:length]

    def _read_head(self, key: str) -> ObjectInfo:
        answer = self.client.head_object(**self._target(key))
        return info_of(key, answer["ContentLength"], answer["LastModified"])

    def _digest(self, key: str, num_bytes: int) -> str | None:
        """Return the SHA-256 of an object, or None if it does not have ``num_bytes`` any more."""
        answer = self.client.get_object(**self._target(key))
        if answer["ContentLength"] != num_bytes:
            answer["Body"].close()
            return None  # another writer has replaced it since its size was read
        return sha256_of(answer["Body"].iter_chunks(CHUNK_BYTES))

    def _listed(self, prefix: str) -> Iterator[ObjectInfo]:
        root = f"{self.prefix}/" if self.prefix else ""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{root}{prefix}", PaginationConfig={"PageSize": PAGE_KEYS}
        )
        return listed(pages, root, prefix)

    def _call(self, doing: str, key: str, call: Callable[[], T], *, check: bool = True) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return self._call_once(doing, key, call, check=check)
            except RetryableStoreError as error:
                # botocore has already retried error replies and failed connections. It does not
                # retry a body that was cut off.
                if attempt == ATTEMPTS - 1 or not broke_off(error):
                    raise
            self._pause(attempt)
        raise AssertionError("unreachable")

    def _call_once(self, doing: str, key: str, call: Callable[[], T], *, check: bool = True) -> T:
        # A prefix of a listing is not a key: it may end in a slash or be empty.
        if check:
            check_key(key)
        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            made = self._client_of_process
            failure = store_error(error, f"{doing} {self._where(key)}", made and made[1])
            raise failure from cause_of(error)
        except UNREADABLE_REPLY as error:
            raise unreadable_reply(error, f"{doing} {self._where(key)}") from error

    @property
    def client(self) -> "S3Client":
        """Client of this process. A forked process must not use the sockets of its parent."""
        made = self._client_of_process
        if made is None or made[0] != os.getpid():
            with making_client():
                made = self._client_of_process  # another thread may have made it meanwhile
                if made is None or made[0] != os.getpid():
                    made = (os.getpid(), self._make_client())
                    self._client_of_process = made
        return made[1]

    def _make_client(self) -> "S3Client":
        try:
            return self._connect()
        except ValueError as error:
            raise PermanentStoreError(
                f"cannot open {self.url}: {error}; check the AWS_* variables and the profile"
            ) from error

    def _settings(self) -> dict[str, Any]:
        return {
            "bucket": self.bucket,
            "prefix": self.prefix,
            "multipart_bytes": self.multipart_bytes,
            "connect": self._connect,
            "pause": self._pause,
        }

    def _target(self, key: str) -> dict[str, Any]:
        full_key = f"{self.prefix}/{key}" if self.prefix else key
        return {"Bucket": self.bucket, "Key": full_key}

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}"
