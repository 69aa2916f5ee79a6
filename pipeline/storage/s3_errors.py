"""Translation of botocore's errors into store errors that name the call, the store and a remedy.

An error is retryable if it may outlast botocore's retries. Every error that is not known to be
transient is permanent: a build that stops with a clear message loses nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore import exceptions as aws
from urllib3.exceptions import LocationParseError

from pipeline.core.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    PermanentStoreError,
    RetryableStoreError,
    StoreError,
)
from pipeline.storage.proxies import proxy_advice, proxy_note, proxy_variable
from pipeline.storage.s3_client import is_unsigned

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RETRYABLE_STATUSES = {408, 409, 429, 500, 502, 503, 504}

_RETRYABLE_CODES = {
    "InternalError",
    "NoSuchUpload",  # an earlier try completed it but its reply was lost, or a rule removed it
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}

_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in AWS_PROFILE"

_UNSIGNED = "a public bucket is read without credentials by unsigned=True, or --unsigned"

_ALLOW = "allow the actions listed in infra/storage/README.md for this bucket"

_DENIED_CODES = {
    "AccessDenied": f"{_ALLOW}; {_UNSIGNED}",
    "403": f"{_ALLOW}, and check the credentials; {_UNSIGNED}",
    "AllAccessDisabled": _ALLOW,
}

_NOT_PUBLIC = (
    "without credentials only public objects can be read; this one is not public, or does not "
    "exist. Set credentials and leave out unsigned"
)

_REMEDIES = {
    "NoSuchBucket": "create the bucket or correct its name; check AWS_ENDPOINT_URL",
    "InvalidAccessKeyId": f"the store does not know this access key; {_CREDENTIALS}; {_UNSIGNED}",
    "SignatureDoesNotMatch": f"the secret does not fit the access key; {_CREDENTIALS}",
    "ExpiredToken": "the session token has expired; fetch new credentials",
    "InvalidToken": "the session token is of no use here; unset AWS_SESSION_TOKEN or renew it",
    "RequestTimeTooSkewed": "set this machine's clock",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the bucket's region",
    "PermanentRedirect": "set AWS_REGION to the bucket's region",
    "301": "set AWS_REGION to the bucket's region",
    "NotImplemented": "this store cannot do what the commit protocol needs; "
    "infra/storage/README.md lists stores that can",
}

_CREDENTIAL_ERRORS = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.ProfileNotFound,
    aws.UnauthorizedSSOTokenError,
    aws.TokenRetrievalError,
    aws.NoAuthTokenError,
)

_TRANSIENT_ERRORS = (
    aws.HTTPClientError,  # connect and read time-outs, resets, name resolution
    aws.IncompleteReadError,
    aws.FlexibleChecksumError,  # damaged on the way
    aws.MetadataRetrievalError,
    aws.CredentialRetrievalError,
)


_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
"""Text of http.client for the answer of a proxy to CONNECT."""


def code_of(error: BaseException) -> str:
    """Return the S3 error code (``NoSuchKey``; the bare status for HEAD), or an empty string.

    Like all functions here, it takes an error of botocore or the ``StoreError`` made from it.
    """
    return str(_answer(error).get("Error", {}).get("Code", ""))


def status_of(error: BaseException) -> int:
    """Return the HTTP status, or 0 if there was no reply."""
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_absent(error: BaseException) -> bool:
    """Return True if the error reports that the object (not the bucket) does not exist."""
    return code_of(error) in ("NoSuchKey", "404", "NotFound")


def is_refusal(error: BaseException) -> bool:
    """Return True if a condition (If-None-Match, If-Match) did not hold."""
    return status_of(error) == 412


def is_conflict(error: BaseException) -> bool:
    """Return True if a conditional write met a concurrent one and should be tried again."""
    return status_of(error) == 409


def is_unsettled(error: StoreError) -> bool:
    """Return True if only a read can show whether the conditional write took place."""
    return is_refusal(error) or isinstance(error, RetryableStoreError | ObjectNotFoundError)


def broke_off(error: BaseException) -> bool:
    """Return True if a body was truncated or damaged; botocore does not retry this."""
    cause = error.__cause__ or error
    return isinstance(
        cause, aws.ResponseStreamingError | aws.IncompleteReadError | aws.FlexibleChecksumError
    )


def _answer(error: BaseException) -> Mapping[str, Any]:
    cause = error if isinstance(error, aws.ClientError) else error.__cause__
    return cause.response if isinstance(cause, aws.ClientError) else {}


def store_error(error: Exception, doing: str, client: "S3Client | None") -> StoreError:
    """Return the store error for an error of botocore; ``doing`` reads like 'get s3://b/k'.

    ``client`` made the call. It is None if creating the client failed.
    """
    endpoint = client.meta.endpoint_url if client else "an endpoint not yet known"
    unsigned = client is not None and is_unsigned(client)
    what = f"cannot {doing} at {endpoint}"
    if isinstance(error, aws.ClientError):
        return _answered(error, what, endpoint, unsigned=unsigned)
    if isinstance(error, _CREDENTIAL_ERRORS):
        return PermanentStoreError(f"{what}: {error}; {_CREDENTIALS}; {_UNSIGNED}")
    proxy = _ProxyUse.of(endpoint)
    # The message of the error is left out, because it may hold the password of the proxy.
    if _shows_proxy(error):
        refused = _TUNNEL.search(str(_unhandled(error)))
        why = f"refused the connection ({refused[1]})" if refused else "cannot be reached"
        return RetryableStoreError(f"{what}: {proxy.name} {why}; {proxy.advice}")
    if isinstance(error, aws.EndpointConnectionError | aws.ConnectTimeoutError):
        remedy = "check AWS_ENDPOINT_URL and that the store runs and can be reached from here"
        return RetryableStoreError(f"{what}: the store does not answer; {remedy}{proxy.note}")
    if isinstance(error, aws.SSLError):
        remedy = "for a private authority set AWS_CA_BUNDLE"
        return RetryableStoreError(f"{what}: {error}; {remedy}{proxy.note}")
    if isinstance(error, _TRANSIENT_ERRORS):
        remedy = "run the same command again to go on"
        return RetryableStoreError(f"{what}: {error}; {remedy}{proxy.note}")
    return PermanentStoreError(f"{what}: {error}")


@dataclass(frozen=True, kw_only=True)
class _ProxyUse:
    """Texts about the proxy that the requests to an endpoint go through."""

    name: str = "the proxy"
    advice: str = "check the settings of the proxy"
    note: str = ""
    """Appended to errors whose cause may be the proxy."""

    @classmethod
    def of(cls, endpoint: str) -> "_ProxyUse":
        """Return the texts for an endpoint; without a note if there is no proxy."""
        variable = proxy_variable(endpoint)
        if variable is None:
            return cls()
        advice = proxy_advice(endpoint, variable)
        return cls(name=f"the proxy of {variable}", advice=advice, note=proxy_note(endpoint))


def unreadable_reply(error: Exception, doing: str) -> PermanentStoreError:
    """Return the store error for a reply that S3 would not send."""
    what = "it redirects without end" if isinstance(error, RecursionError) else f"{error}"
    return PermanentStoreError(
        f"cannot {doing}: the reply is not one of S3 ({type(error).__name__}: {what}); check "
        "AWS_ENDPOINT_URL and the proxy, if there is one"
    )


def cause_of(error: Exception) -> Exception | None:
    """Return the error as the cause of a ``StoreError``, or None if it could show a proxy's URL."""
    return None if _shows_proxy(error) else error


def _shows_proxy(error: Exception) -> bool:
    """Return True if the message may hold the password of a proxy.

    botocore removes it, except from URLs that it cannot parse. urllib3 repeats what it takes for
    the host, which is part of the password if the password contains a slash.
    """
    return isinstance(error, aws.ProxyConnectionError) or isinstance(
        _unhandled(error), LocationParseError
    )


def _unhandled(error: Exception) -> object:
    """Return the error of urllib3 that botocore did not handle but kept in its arguments."""
    return error.kwargs.get("error") if isinstance(error, aws.BotoCoreError) else None


def _answered(error: aws.ClientError, what: str, endpoint: str, *, unsigned: bool) -> StoreError:
    code, status = code_of(error), status_of(error)
    message = error.response.get("Error", {}).get("Message", "")
    if is_absent(error):
        return ObjectNotFoundError(f"{what}: no such object")
    # Absent objects and refused conditions are part of the protocol, and finding the proxy takes as
    # long as a request.
    if code in _RETRYABLE_CODES or status in RETRYABLE_STATUSES:
        return RetryableStoreError(
            f"{what}: the store answered {code} ({status}) {message} after all retries; it is "
            f"busy or failing; run the same command again to go on{_ProxyUse.of(endpoint).note}"
        )
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        proxy = _ProxyUse.of(endpoint)
        remedy = f"give them in its URL (http://USER:PASSWORD@HOST:PORT), or {proxy.advice}"
        return PermanentStoreError(f"{what}: {proxy.name} requires user and password; {remedy}")
    # Without credentials the remedy is not a permission but another URL or credentials.
    if code in _DENIED_CODES:
        remedy = _NOT_PUBLIC if unsigned else _DENIED_CODES[code]
        return AccessDeniedError(f"{what}: {code} ({status}) {message}; {remedy}")
    remedy = _REMEDIES.get(code, "see the log of the store")
    return PermanentStoreError(f"{what}: {code} ({status}) {message}; {remedy}")
