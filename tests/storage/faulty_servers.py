"""Servers with one fault each, on real sockets, for the store's error paths."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

from tests.storage.proxy import HangUpError, Link, Proxy

REFUSAL = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>busy</Message></Error>"


class ForgetfulStore(BaseHTTPRequestHandler):
    """S3-compatible server that ignores every write condition, as some real ones do."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, bytes]]

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.objects[self._key] = data
        self._answer(200, b"", data)

    def do_GET(self) -> None:
        data = self.objects.get(self._key)
        if data is None:
            self._answer(404, REFUSAL % b"NoSuchKey")
        else:
            self._answer(200, data, data)

    def do_HEAD(self) -> None:
        self.do_GET()  # whose answer has no body then

    def do_DELETE(self) -> None:
        self.objects.pop(self._key, None)
        self._answer(204, b"")

    def log_message(self, *_: object) -> None:
        pass

    @property
    def _key(self) -> str:
        return urlsplit(self.path).path

    def _answer(self, status: int, body: bytes, tagged: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.md5(tagged).hexdigest()}"')
        self.send_header("Last-Modified", formatdate(usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class BusyStore(ForgetfulStore):
    """Answers 503 until it has done so ``refusals_left`` times."""

    refusals_left: list[int]
    num_requests: list[int]

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            self.num_requests.append(1)
            if self.refusals_left:
                self.refusals_left.pop()
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer(503, REFUSAL % b"SlowDown")
                return False
        return parsed


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Yield the URL of a server that runs ``handler``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class LosesReplies(Proxy):
    """A proxy that hangs up instead of passing on the reply to some requests.

    ``lose(b"PUT ", 2)`` loses the replies to the next two requests that start so (and have
    ``containing`` in their first line); the server has carried them out by then.
    ``cut_after(n)`` hangs up after so many bytes of the next reply to a GET.
    """

    def __init__(self, upstream: str) -> None:
        self._start, self._containing, self._left = b"", b"", 0
        self._cut_after: int | None = None
        self.num_lost = 0
        super().__init__(upstream)

    def lose(self, start: bytes, count: int, *, containing: bytes = b"") -> None:
        self._start, self._containing, self._left = start, containing, count

    def cut_after(self, num_bytes: int) -> None:
        self._cut_after = num_bytes

    def on_reply(self, link: Link, data: bytes) -> bytes:
        final = not data.startswith(b"HTTP/1.1 100")  # "go on", before a PUT's body
        if final and self._left and self._is_meant(link.first_line):
            self._left -= 1
            self.num_lost += 1
            raise HangUpError
        if self._cut_after is not None and link.first_line.startswith(b"GET "):
            link.client.sendall(data[: self._cut_after])
            self._cut_after = None
            self.num_lost += 1
            raise HangUpError
        return data

    def _is_meant(self, request: bytes) -> bool:
        return request.startswith(self._start) and self._containing in request


class CutsContinue(Proxy):
    """A proxy that ends the connection after the first line of a "100 Continue" reply."""

    def on_reply(self, link: Link, data: bytes) -> bytes:
        if data.startswith(b"HTTP/1.1 100"):
            link.client.sendall(data.partition(b"\r\n")[0] + b"\r\n")
            raise HangUpError
        return data
