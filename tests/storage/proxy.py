"""TCP proxy whose subclasses change or drop requests and replies."""

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

_METHODS = (b"PUT ", b"POST ", b"GET ", b"HEAD ", b"DELETE ")


class HangUpError(Exception):
    """Raised by a hook to end the connection."""


@dataclass(eq=False)
class Link:
    """Pair of connections, to the client and to the server, that carries successive requests."""

    client: socket.socket
    upstream: socket.socket
    address: str
    """The client's."""
    port: int
    """The client's."""
    request: bytes = b""
    """First bytes of the current request: its first line and usually its headers."""

    @property
    def first_line(self) -> bytes:
        """HTTP method of the current request."""
        return self.request.split(b"\r\n", 1)[0]

    def hang_up(self) -> None:
        """End both connections in good order."""
        for each in (self.upstream, self.client):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def reset(self) -> None:
        """End the client's connection as a crashed peer does: with RST in place of FIN."""
        with suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Wakes the thread that reads from it and sends nothing; the last close sends the RST.
            self.client.shutdown(socket.SHUT_RD)
        self.client.close()


class Proxy:
    """Passes bytes on between its clients and ``upstream`` (``http://host:port``).

    Each chunk goes through ``on_request`` or ``on_reply``, which return what to pass on, or raise
    ``HangUpError``. The two directions of a connection are two threads.
    """

    def __init__(self, upstream: str, host: str = "127.0.0.1") -> None:
        address = urlsplit(upstream)
        self._upstream = (address.hostname or "", address.port or 0)
        self._listener = socket.create_server((host, 0))
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Return the part of a request chunk to pass on."""
        return data

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Return the part of a reply chunk to pass on."""
        return data

    def close(self) -> None:
        """Stop accepting connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, (address, port) = self._listener.accept()
                threading.Thread(
                    target=self._serve, args=(client, address, port), daemon=True
                ).start()

    def _serve(self, client: socket.socket, address: str, port: int) -> None:
        try:
            upstream = socket.create_connection(self._upstream)
        except OSError:  # no server listens
            client.close()
            return
        link = Link(client, upstream, address, port)
        threading.Thread(target=self._replies, args=(link,), daemon=True).start()
        with suppress(OSError, HangUpError):
            while data := client.recv(65536):
                if data.startswith(_METHODS):
                    link.request = data
                upstream.sendall(self.on_request(link, data))
        link.hang_up()

    def _replies(self, link: Link) -> None:
        with suppress(OSError, HangUpError):
            while data := link.upstream.recv(65536):
                link.client.sendall(self.on_reply(link, data))
        link.hang_up()
