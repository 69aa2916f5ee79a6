"""Construction of the boto3 client from the usual AWS configuration, with two additions.

Environment, profile and instance role decide endpoint, region and credentials. The additions:

- AWS_REGION is read, as the other SDKs do and boto3 does not.
- Endpoints other than Amazon's get path-style addresses, because ``http://bucket.minio:9000`` does
  not resolve. A profile that sets ``addressing_style`` keeps it.

Unusable settings that would put a secret into error messages are rejected first: botocore repeats
the endpoint in its errors, and http.client repeats a header that it rejects.
"""

import gc
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.utils import parse_timestamp

from pipeline.storage.s3_listing import parse_listings
from pipeline.storage.s3_replies import BoundedSession
from pipeline.storage.s3_requests import count_requests

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
MAX_ATTEMPTS = 6
"""Number of tries, about 15 s with the pauses of standard mode; AWS_MAX_ATTEMPTS overrides it."""

_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_lock = threading.Lock()


def making_client() -> threading.Lock:
    """Return the lock under which one thread makes the client, which costs 0.25 s of CPU."""
    return _lock


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


# A thread that does not exist in the forked child may have held the lock at the fork.
os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Disable garbage collection while botocore loads its service descriptions.

    These objects stay alive, but allocating them triggers full collections. Measured with torch
    loaded: 0.1 to 0.2 s of the 0.4 s of the first client.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def make_client(**overrides: Any) -> "S3Client":
    """Return a client for one process; threads may share it, forked processes may not.

    ``overrides`` are arguments of ``boto3.session.Session.client``. Raises botocore's errors,
    and ``ValueError`` for an unusable setting; its message leaves out the value.
    """
    _check_credentials(os.environ)
    return _make(_config(), overrides)


def make_unsigned_client() -> "S3Client":
    """Return a client that reads public objects without credentials.

    Raises as ``make_client`` does.
    """
    return _make(_config().merge(Config(signature_version=UNSIGNED)), {})


def is_unsigned(client: "S3Client") -> bool:
    """Return True for a client of ``make_unsigned_client``."""
    return getattr(client.meta.config, "signature_version", None) is UNSIGNED


@_without_collecting()
def _make(config: Config, overrides: Mapping[str, Any]) -> "S3Client":
    # A separate session, because boto3's default session is not safe to create from threads.
    session = boto3.session.Session(botocore_session=_botocore_session())
    arguments = {"region_name": session.region_name or os.environ.get("AWS_REGION"), **overrides}
    try:
        client = session.client("s3", config=config, **arguments)
    except ValueError:  # botocore's message repeats the endpoint, which may hold a password
        raise ValueError("the endpoint is not a URL like https://host:port") from None
    _check_endpoint(client.meta.endpoint_url)
    amazon = ".amazonaws.com" in client.meta.endpoint_url
    if not amazon and "addressing_style" not in (getattr(client.meta.config, "s3", None) or {}):
        by_path = config.merge(Config(s3={"addressing_style": "path"}))
        client = session.client("s3", config=by_path, **arguments)
    return _with_handlers(client)


def _with_handlers(client: "S3Client") -> "S3Client":
    count_requests(client)
    return parse_listings(_bounded(_without_expect(client)))


def _bounded(client: "S3Client") -> "S3Client":
    """Return ``client``, changed to reject endless replies."""
    # botocore offers no hook between the sending of a request and the reading of its reply.
    endpoint: Any = getattr(client, "_endpoint")  # noqa: B009  # not in the stubs
    endpoint.http_session = BoundedSession(endpoint.http_session)
    return client


def _without_expect(client: "S3Client") -> "S3Client":
    """Return ``client``, changed to upload without asking for a "100 Continue" first.

    Botocore handles ``Expect: 100-continue`` wrongly in three cases. If the connection ends between
    the status line and the empty line of the reply, it loops forever, and no time limit applies
    (``AWSConnection._consume_headers``). After an empty upload it may take the status of an earlier
    reply for the next one (boto/botocore#3755). Behind some TLS proxies every upload waits for the
    read time limit (boto/botocore#3613). The header is not part of the signature.
    """

    def remove(request: Any, **_: Any) -> None:
        request.headers.pop("Expect", None)

    client.meta.events.register("before-send.s3", remove)
    return client


_loaders: dict[str | None, Any] = {}
"""Maps the value of AWS_DATA_PATH to a botocore loader, which caches service descriptions."""


def _botocore_session() -> botocore.session.Session:
    """Return a botocore session with a faster time parser and shared service descriptions.

    Parsing times is most of the cost of a listing. Reading the service descriptions once reduces
    the cost of a further client from 90 ms to 15 ms, also in a process forked later, such as a
    DataLoader worker.
    """
    session = botocore.session.get_session()
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_read_time)
    path = session.get_config_variable("data_path")
    if path in _loaders:
        session.register_component("data_loader", _loaders[path])
    else:
        _loaders[path] = session.get_component("data_loader")
    return session


def _read_time(value: Any) -> datetime:
    """Parse a time in a reply. A page of 1000 takes 0.03 s; botocore's parser takes 0.17 s."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):  # as in HTTP headers
        return parse_timestamp(value)


def _config() -> Config:
    return Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=32,
        retries={
            # boto3's default "legacy" does not retry all time-outs.
            "mode": _retry_mode(),
            "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", MAX_ATTEMPTS)),
        },
    )


def _retry_mode() -> Any:
    return os.environ.get("AWS_RETRY_MODE", "standard")


def _check_credentials(environ: Mapping[str, str]) -> None:
    """Reject credentials with white space, mostly the line break at the end of a secret's file.

    Raises ``ValueError``.
    """
    for name in _CREDENTIALS:
        text = environ.get(name, "")
        # The value is not part of the message, which may end in a log.
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(
                f"{name} holds white space, a line break or another character that no credential "
                "has; set it without"
            )


def _check_endpoint(url: str) -> None:
    """Reject an endpoint with more than scheme, host, port and path.

    User info and a query have no effect, because requests are signed with the access key.
    Raises ``ValueError``.
    """
    if any(mark in url for mark in "@?#"):  # not urlsplit: a password may contain a slash
        host = urlsplit(f"//{url.rpartition('@')[2].rpartition('://')[2]}").netloc
        raise ValueError(
            f"the endpoint at {host} is given with user info, a query "
            "or a fragment, of which S3 makes no use: take them out, and give credentials in "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
