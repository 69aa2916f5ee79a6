"""A proxy between a cluster and its store, which records commits and injects wire faults."""

import re
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol

from tests.storage.proxy import Link, Proxy

RECEIPT = re.compile(rb"PUT /(\S*)/receipts/[^/]+/(\d+)\.json HTTP")
_UNIT = re.compile(rb"PUT /(\S*)/units/[^/]+/(\d+)-\S* HTTP")
_INVOCATION = re.compile(rb"amz-sdk-invocation-id: *(\S+)", re.IGNORECASE)


class Trouble(Protocol):
    """Interface of a wire fault, which changes requests and replies (see ``Proxy``)."""

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Return the bytes of a request to forward. Raises ``HangUpError``."""
        ...

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Return the bytes of a reply to forward. Raises ``HangUpError``."""
        ...


@dataclass(frozen=True)
class Seen:
    """An observed upload of a unit, or the reply that committed it."""

    when: float
    """Time of ``time.monotonic``."""
    address: str
    """Address of the node."""
    port: int
    """Port of the worker's connection."""
    unit: int


class Gate(Proxy):
    """Proxy in front of the store."""

    def __init__(self, upstream: str, host: str) -> None:
        self.trouble: Trouble | None = None
        self._commits: dict[str, list[Seen]] = defaultdict(list)
        self._uploads: dict[str, list[Seen]] = defaultdict(list)
        self._invocations: set[bytes] = set()
        super().__init__(upstream, host)

    def commits(self, place: str) -> list[Seen]:
        """Return the receipts committed under ``place`` (``bucket/prefix``), in order of time."""
        return list(self._commits[place])

    def uploads(self, place: str) -> list[Seen]:
        """Return the uploads of units begun under ``place``. Retries of the client count once."""
        return list(self._uploads[place])

    def on_request(self, link: Link, data: bytes) -> bytes:
        """Record an upload, then apply the wire fault."""
        if data is link.request and (upload := _UNIT.match(data)):
            invocation = _INVOCATION.search(data)
            if invocation is None or invocation[1] not in self._invocations:
                self._invocations |= {invocation[1]} if invocation else set()
                self._note(self._uploads, link, upload)
        return self.trouble.on_request(link, data) if self.trouble else data

    def on_reply(self, link: Link, data: bytes) -> bytes:
        """Apply the wire fault, then record a commit."""
        data = self.trouble.on_reply(link, data) if self.trouble else data
        receipt = RECEIPT.match(link.request)
        if receipt and data.startswith(b"HTTP/1.1 200"):
            self._note(self._commits, link, receipt)
        return data

    def _note(self, log: dict[str, list[Seen]], link: Link, match: re.Match[bytes]) -> None:
        seen = Seen(time.monotonic(), link.address, link.port, int(match[2]))
        log[match[1].decode()].append(seen)
