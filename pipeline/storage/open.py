"""Construction of a store from its URL."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.core.errors import UserError
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.s3 import S3Store
from pipeline.storage.s3_client import make_client, make_unsigned_client

_FORMS = "give file:///absolute/folder, s3://bucket/prefix, or the path of a folder"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_store(url: str, *, unsigned: bool = False) -> ObjectStore:
    """Return the store at ``url`` without touching disk or network. Raises ``UserError``.

    A string without ``scheme:`` is the path of a folder, relative to the working directory.
    ``unsigned`` reads a public bucket without credentials.
    """
    store = _open(url, unsigned=unsigned)
    if unsigned and not isinstance(store, S3Store):
        raise UserError(f"{store.url}: unsigned is for s3:// URLs; leave it out")
    return store


def _open(url: str, *, unsigned: bool) -> ObjectStore:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(?=//)|(file|s3):", url)
    if scheme is None:
        if not url.strip():
            raise UserError(f"the store's URL is empty; {_FORMS}")
        return LocalStore(Path(url).expanduser())
    name = scheme[0].rstrip(":").lower()
    if name == "file":
        return _open_file(url)
    if name == "s3":
        return _open_s3(url, unsigned=unsigned)
    raise UserError(f"no store for {name}:// URLs; {_FORMS}")


def _open_file(url: str) -> LocalStore:
    parts = urlsplit(url)
    # Any other host would be another machine's folder, which cannot be opened by path.
    if "//" not in url or parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UserError(f"{_shown(url)!r} is not a file URL with an absolute path; {_FORMS}")
    # A file URL has no query or fragment, so '?' and '#' are part of the folder's name.
    path = url.split("//", 1)[1].removeprefix(parts.netloc)
    return LocalStore(Path(unquote(path)))


def _open_s3(url: str, *, unsigned: bool) -> S3Store:
    bucket, _, prefix = url.split(":", 1)[1].removeprefix("//").partition("/")
    if "@" in bucket or (":" in bucket and "@" in prefix):  # a secret key may hold a slash
        raise UserError(f"an S3 URL holds no credentials: set AWS_ACCESS_KEY_ID …; {_FORMS}")
    if "//" not in url or not _BUCKET.fullmatch(bucket):
        raise UserError(f"{_shown(url)!r} names no valid bucket; {_FORMS}")
    if any(character in prefix for character in "?#"):
        raise UserError(
            f"an S3 URL takes no query or fragment: endpoint and region come from AWS_ENDPOINT_URL "
            f"and AWS_REGION; {_FORMS}"
        )
    prefix = prefix.strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise UserError(f"{_shown(url)!r} has an empty, '.' or '..' part in its prefix; {_FORMS}")
    return S3Store(bucket, prefix, connect=make_unsigned_client if unsigned else make_client)


def _shown(url: str) -> str:
    """Return a URL that is safe for messages: without user info, query and fragment."""
    return re.split("[?#]", url.rpartition("@")[2], maxsplit=1)[0]
