"""Reading of S3 replies, which are checked because the server is not trusted.

A server, or a proxy that answers in its place, may send an endless body, another range than
requested, a listing that repeats itself, or a page of HTML. botocore reads replies of any size into
memory and raises ``KeyError`` or ``ValueError`` for what it cannot interpret.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import HTTPClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from pipeline.core.errors import VerificationError
from pipeline.storage.object_store import ObjectInfo, too_large

MAX_REPLY_BYTES = 2**24
"""Largest reply that is not the content of an object. A page of 1000 keys takes at most 4 MB."""

MAX_LISTED = 20_000_000
"""Most objects of a listing, which take 5 GB of memory."""

MAX_EMPTY_PAGES = 1000
"""Most consecutive pages without an object; a store may send some after many deletions."""

UNREADABLE_REPLY = (
    LookupError,
    OverflowError,
    RecursionError,  # botocore asks for the region after a redirection, which is redirected too
    ResponseParserError,
    TypeError,
    ValueError,
)
"""Errors of a reply that S3 would not send."""


class BoundedSession:
    """HTTP session of a botocore client that rejects large replies, except content of objects."""

    def __init__(self, session: Any) -> None:
        """Wrap the ``URLLib3Session`` of a client."""
        self._session = session

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Send a request and return its reply. Raises botocore's errors."""
        is_content = request.stream_output
        # The session would otherwise read the reply, whatever its size.
        request.stream_output = True
        reply: AWSResponse = self._session.send(request)
        if is_content and reply.status_code < 300:
            return reply
        reply.raw = _BoundedBody(reply.raw)
        _ = reply.content  # read now, so that botocore retries a failure
        return reply

    def close(self) -> None:
        """Close all connections."""
        self._session.close()


class _BoundedBody:
    """Body of a reply with the one method that ``AWSResponse`` calls."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def stream(self) -> Iterator[bytes]:
        num_bytes = 0
        try:
            for piece in self._raw.stream():
                num_bytes += len(piece)
                if num_bytes > MAX_REPLY_BYTES:
                    self._raw.close()
                    raise ValueError(f"it has more than {MAX_REPLY_BYTES:,} bytes")
                yield piece
        except HTTPError as error:
            raise HTTPClientError(error=error) from error


def body_of(answer: Mapping[str, Any], where: str, max_bytes: int) -> bytes:
    """Return the content of an object.

    Raises ``VerificationError`` if it has more than ``max_bytes``, and ``LookupError`` or
    ``ValueError`` if the server does not send its length, because the body may be endless.
    """
    length = answer["ContentLength"]
    if length < 0:
        raise ValueError(f"its body has {length} bytes")
    if length > max_bytes:
        answer["Body"].close()  # unread, so that the connection is not used again
        raise too_large(where, max_bytes)
    content: bytes = answer["Body"].read()  # not more than this length
    return content


def range_of(answer: Mapping[str, Any], where: str, start: int, length: int) -> bytes:
    """Return the content of a requested range. Raises ``ValueError`` for another one."""
    sent = answer.get("ContentRange", "")
    # A server may send a range that is the complete object as if no range were requested.
    if not sent.startswith(f"bytes {start}-") and (sent or start):
        raise ValueError(f"bytes from {start} were requested, it sent {sent or 'all bytes'}")
    try:
        return body_of(answer, where, length)
    except VerificationError:
        raise ValueError(f"{length} bytes were requested, it sends more") from None


def info_of(key: str, num_bytes: int, modified: datetime) -> ObjectInfo:
    """Return the entry of an object. Raises ``ValueError`` for a size or time that cannot be."""
    if not 0 <= num_bytes < 2**63 or modified.tzinfo is None:
        raise ValueError(f"{key!r} has {num_bytes} bytes, last written at {modified}")
    return ObjectInfo(key=key, num_bytes=num_bytes, modified=modified)


def listed(pages: Iterable[Mapping[str, Any]], root: str, prefix: str) -> Iterator[ObjectInfo]:
    """Yield the objects of a listing, without ``root`` in their keys.

    Raises ``ValueError`` for a listing that is none, is of other keys, or does not end.
    """
    num_objects = num_empty = 0
    first_keys = set()
    for page in pages:
        # S3 sends this in every page. A page without it is that of a proxy or another service.
        if "IsTruncated" not in page:
            raise ValueError("it is no listing of a bucket")
        entries = page.get("Contents", [])
        num_empty = 0 if entries else num_empty + 1
        num_objects += len(entries)
        if num_empty > MAX_EMPTY_PAGES or num_objects > MAX_LISTED:
            raise ValueError(f"the listing does not end after {num_objects:,} objects")
        if entries:
            first = entries[0]["Key"]
            if first in first_keys:
                raise ValueError(f"the listing repeats the page that starts with {first!r}")
            first_keys.add(first)
        for entry in entries:
            if not entry["Key"].startswith(f"{root}{prefix}"):
                raise ValueError(f"{prefix!r} was listed, and it holds {entry['Key']!r}")
            if entry["Key"].endswith("/"):
                continue  # a folder marker made by a console or store, also of the root
            yield info_of(entry["Key"].removeprefix(root), entry["Size"], entry["LastModified"])
