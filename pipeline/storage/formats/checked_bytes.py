"""Digests of a shard, and its bytes, which are verified piece by piece before use.

The SHA-256 of a file is its identity and protects against deliberate changes, but it is known only
after all of the file was read. The manifest also holds digests of pieces. They detect accidental
damage: XXH3 misses one damaged piece in 2**64 and is eight times as fast.
"""

import base64
import hashlib
import mmap
import os
from typing import BinaryIO, Final

import pyarrow as pa
import xxhash

from pipeline.core.errors import VerificationError
from pipeline.core.records import Record

PIECE_BYTES = 128 * 1024
"""Size of a piece: one noise of SDXL. About half of the bytes that are checked for a random row
belong to that row. The digests take 1/16,000 of the data."""

_DIGEST_BYTES = 8


class Pieces(Record):
    """Digests of all pieces of a file, in order."""

    num_bytes: int
    """Size of a piece in bytes; the last one may be smaller."""
    xxh3_64: str
    """Concatenated big-endian XXH3 digests, in base64."""

    def digests(self) -> list[bytes]:
        """Return the digest of every piece. Raises ``ValueError`` for invalid base64."""
        joined = base64.b64decode(self.xxh3_64, validate=True)
        return [joined[at : at + _DIGEST_BYTES] for at in range(0, len(joined), _DIGEST_BYTES)]


class ShardInfo(Record):
    """Key, digest and size of one shard."""

    key: str
    sha256: str
    num_samples: int
    num_bytes: int
    """Size of the file in bytes."""
    pieces: Pieces | None = None
    """Digests of pieces; None in older data sets, whose reads are checked by ``sha256`` alone."""


def is_complete(pieces: Pieces, num_bytes: int) -> bool:
    """Return True if the number of digests matches the number of pieces of a file."""
    if pieces.num_bytes < 1:
        return False
    count = -(-num_bytes // pieces.num_bytes)
    return len(pieces.xxh3_64) == -(-count * _DIGEST_BYTES // 3) * 4  # base64: 4 characters for 3


def digest_of(piece: bytes | memoryview) -> bytes:
    """Return the XXH3 digest of one piece. Releases the GIL; measured at 6 GB/s per thread."""
    return xxhash.xxh3_64_digest(piece)


def pieces_of(file: BinaryIO) -> Pieces:
    """Return the digests of a file's pieces, from its current position to the end."""
    joined = b"".join(map(digest_of, iter(lambda: file.read(PIECE_BYTES), b"")))
    return Pieces(num_bytes=PIECE_BYTES, xxh3_64=base64.b64encode(joined).decode())


Known = memoryview
"""One byte for each piece of a shard: 1 after the piece passed its check. Shared by processes."""


def num_pieces(info: ShardInfo) -> int:
    """Return the number of pieces of a shard. A shard without piece digests is one piece."""
    return 1 if info.pieces is None else -(-info.num_bytes // info.pieces.num_bytes)


class CheckedBytes:
    """A mapped file, or bytes. Callers must ``check`` a range before they use it.

    A piece is checked when it is first needed, or earlier by ``check_ahead`` in another thread or
    process. Two threads or processes that need the same piece at the same time both check it.
    """

    def __init__(
        self, file: BinaryIO | bytes, info: ShardInfo, known: Known | None, url: str
    ) -> None:
        """Map the file. It may be closed afterwards. If ``known`` is None, nothing is checked.

        Raises ``VerificationError`` for a file of another size.
        """
        self._url = url
        self._known = known
        if info.pieces is None:
            self._digest_of = _sha256
            self._promised = [bytes.fromhex(info.sha256)]
            self._piece_bytes = info.num_bytes
        else:
            self._digest_of = digest_of
            try:
                self._promised = info.pieces.digests()
            except ValueError as error:
                raise VerificationError(f"{url}: the digests of its pieces: {error}") from None
            self._piece_bytes = info.pieces.num_bytes
        num_bytes = len(file) if isinstance(file, bytes) else os.fstat(file.fileno()).st_size
        if num_bytes != info.num_bytes:
            raise self._damaged(f"{num_bytes:,} bytes in place of {info.num_bytes:,}")
        self.mapped: Final = file if isinstance(file, bytes) else _mapped(file)
        self.buffer: Final = pa.py_buffer(self.mapped)
        """Arrow buffer over the same bytes."""
        self._view = memoryview(self.mapped)

    @property
    def num_bytes(self) -> int:
        """Size of the file in bytes."""
        return len(self._view)

    def check(self, start: int, stop: int) -> None:
        """Raise ``VerificationError`` if bytes ``start`` to ``stop`` are damaged."""
        # Use of mapped bytes behind the end of the file would end the process with SIGBUS.
        if isinstance(self.mapped, mmap.mmap) and self.mapped.size() < self.num_bytes:
            raise self._damaged(f"{self.mapped.size():,} bytes now, {self.num_bytes:,} when opened")
        if self._known is None or stop <= start:
            return
        first, behind = start // self._piece_bytes, -(-stop // self._piece_bytes)
        # Mostly all pieces are known already. One search in a copy is faster than a loop in Python.
        if bytes(self._known[first:behind]).find(0) < 0:
            return
        for piece in range(first, behind):
            if not self._is_whole(piece, self._known):
                begin = piece * self._piece_bytes
                end = min(begin + self._piece_bytes, self.num_bytes)
                raise self._damaged(f"bytes {begin:,} to {end:,}")

    def check_buffer(self, buffer: pa.Buffer) -> None:
        """Raise ``VerificationError`` if the bytes of a slice of ``self.buffer`` are damaged."""
        start = self.position(buffer)
        self.check(start, start + buffer.size)

    def check_ahead(self, share: float = 0.0) -> None:
        """Check all unchecked pieces. Damage is not raised here but by the ``check`` that needs it.

        ``share`` in [0, 1) is the relative position of the first piece. Processes that start at
        different positions divide the work, because they share ``known``.
        """
        if self._known is None:
            return
        count = len(self._promised)
        first = int(share * count)
        for piece in (*range(first, count), *range(first)):
            self._is_whole(piece, self._known)

    def position(self, buffer: pa.Buffer) -> int:
        """Return the byte offset in the file of a slice of ``self.buffer``."""
        return int(buffer.address - self.buffer.address)

    def _is_whole(self, piece: int, known: Known) -> bool:
        if not known[piece]:
            begin = piece * self._piece_bytes
            digest = self._digest_of(self._view[begin : begin + self._piece_bytes])
            # No lock: processes that check a piece at the same time store the same result. A
            # damaged piece stays 0 and is checked again, so that every use of it raises.
            known[piece] = digest == self._promised[piece]
        return bool(known[piece])

    def _damaged(self, what: str) -> VerificationError:
        return VerificationError(
            f"{self._url}: damaged ({what}), not the bytes that its manifest promises; "
            "`npd repair` repairs it"
        )


def _mapped(file: BinaryIO) -> mmap.mmap:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    # Let the kernel read ahead while the first rows are used.
    mapped.madvise(mmap.MADV_WILLNEED)
    return mapped


def _sha256(piece: bytes | memoryview) -> bytes:
    return hashlib.sha256(piece).digest()
