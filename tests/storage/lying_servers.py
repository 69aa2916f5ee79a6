"""S3-compatible servers whose replies are wrong, endless or hostile, on real sockets."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from itertools import count
from urllib.parse import parse_qs, urlsplit

from tests.storage.faulty_servers import serving

Reply = Iterator[bytes]
"""Bytes on the wire, from the status line on."""
Lie = Callable[[str, dict[str, str], dict[str, str]], Reply]
"""Function of a method, a query and the headers of a request that returns the reply."""

_DATE = "Sun, 22 Nov 2026 20:22:01 GMT"


def head(status: str = "200 OK", **headers: object) -> bytes:
    """Return the status line and the headers of a reply."""
    given = {"ETag": '"e"', "Last-Modified": _DATE, "Content-Type": "application/xml"}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {**given, **headers}.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""]).encode()


def with_length(body: bytes, status: str = "200 OK", **headers: object) -> Reply:
    """Yield a complete reply."""
    yield head(status, **{"Content_Length": len(body), **headers}) + body


def endless(start: bytes = b"", piece: bytes = b" " * 65_536, status: str = "200 OK") -> Reply:
    """Yield a reply without a length, which never ends."""
    yield head(status) + start
    while True:
        yield piece


def entry(key: str, size: object = 1, modified: str = "2026-11-22T20:22:01Z") -> str:
    """Return an object of a listing."""
    return (
        f"<Contents><Key>{key}</Key><Size>{size}</Size>"
        f"<LastModified>{modified}</LastModified></Contents>"
    )


def page(entries: str, token: str = "") -> bytes:
    """Return a page of a listing, which another one follows if there is a token."""
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    more = more if token else "<IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult>{more}{entries}</ListBucketResult>".encode()


def new_pages(entries: Callable[[int], str]) -> Lie:
    """Return a listing that never ends, with another token in each page."""
    numbers = count()

    def lie(method: str, query: dict[str, str], headers: dict[str, str]) -> Reply:
        number = next(numbers)
        return with_length(page(entries(number), f"t{number}"))

    return lie


@contextmanager
def lying(lie: Lie, requests: list[str] | None = None) -> Iterator[str]:
    """Yield the URL of a server that answers every request with ``lie``."""

    class Liar(BaseHTTPRequestHandler):
        def _lie(self) -> None:
            if requests is not None:
                requests.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            with suppress(ConnectionError):  # the client has heard enough
                for piece in lie(self.command, query, dict(self.headers)):
                    self.wfile.write(piece)

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Liar, f"do_{method}", Liar._lie)
    with serving(Liar) as url:
        yield url
