"""The boto3 client: configured in the ways boto3 users expect, with two things added.

Environment, profile and instance role decide endpoint, region and credentials. Added: AWS_REGION
(which the other SDKs read and boto3 does not), and path-style addresses for endpoints that are not
Amazon's, because ``http://bucket.minio:9000`` resolves nowhere; a profile that sets
``addressing_style`` keeps it.
"""

import gc
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.utils import parse_timestamp

from pipeline.storage.s3_settings import check_credentials, check_endpoint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
MAX_ATTEMPTS = 6
"""With the standard mode's pauses about 15 s in all; AWS_MAX_ATTEMPTS overrules it."""


_lock = threading.Lock()


def making_client() -> threading.Lock:
    """Hold this to make a client once for all threads: the first costs a quarter second of CPU."""
    return _lock


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


# A thread that does not exist in a forked child may have held it at the fork.
os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """The objects of botocore's descriptions stay; but as they come, Python looks through all that
    there are for some that may go. Seen beside torch: 0.1 to 0.2 s of the first client's 0.4.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def make_client(**overrides: Any) -> "S3Client":
    """A client that threads may share; processes may not (its connections do not survive a fork).

    ``overrides`` are arguments of ``boto3.session.Session.client``. Raises what botocore raises,
    and ``ValueError``, without the value, for a setting that cannot be used.
    """
    check_credentials(os.environ)
    return _make(_config(), overrides)


def make_unsigned_client() -> "S3Client":
    """A client that signs nothing, looks for no credentials and reads what is public.

    Raises as ``make_client`` does.
    """
    return _make(_config().merge(Config(signature_version=UNSIGNED)), {})


def is_unsigned(client: "S3Client") -> bool:
    """Return True for a client of ``make_unsigned_client``."""
    return getattr(client.meta.config, "signature_version", None) is UNSIGNED


@_without_collecting()
def _make(config: Config, overrides: Mapping[str, Any]) -> "S3Client":
    # A session of its own: boto3's default session is not safe to create from several threads.
    session = boto3.session.Session(botocore_session=_botocore_session())
    arguments = {"region_name": session.region_name or os.environ.get("AWS_REGION"), **overrides}
    try:
        client = session.client("s3", config=config, **arguments)
    except ValueError:  # botocore repeats the endpoint, in which there may be a password
        raise ValueError("the endpoint is not a URL like https://host:port") from None
    check_endpoint(client.meta.endpoint_url)
    amazon = ".amazonaws.com" in client.meta.endpoint_url
    if amazon or "addressing_style" in (getattr(client.meta.config, "s3", None) or {}):
        return client
    by_path = config.merge(Config(s3={"addressing_style": "path"}))
    return session.client("s3", config=by_path, **arguments)


_loaders: dict[str | None, Any] = {}
"""By the folders that AWS_DATA_PATH adds: botocore's own, which keep what they have read."""


def _botocore_session() -> botocore.session.Session:
    """botocore's defaults, but for times: reading those of a listing is most of its cost.

    And its descriptions of services are read once: from 90 ms for a further client to 15, also in
    a process that was forked since, such as a DataLoader's worker.
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
    """A time in a reply. Seen: 0.03 s for a page of a thousand, where botocore takes 0.17 s."""
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
            # "standard" and not boto3's default "legacy", which does not retry all time-outs.
            "mode": _retry_mode(),
            "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", MAX_ATTEMPTS)),
        },
    )


def _retry_mode() -> Any:
    return os.environ.get("AWS_RETRY_MODE", "standard")
