"""Bytes of a shard, verified piece by piece before use."""

import hashlib
import mmap
import os
from typing import BinaryIO, Final

import pyarrow as pa

from pipeline.errors import VerificationError
from pipeline.storage.manifest import ShardInfo
from pipeline.storage.pieces import digest_of

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
        if self._known is None or stop <= start:
            return
        first, behind = start // self._piece_bytes, -(-stop // self._piece_bytes)
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
            known[piece] = digest == self._promised[piece]
        return bool(known[piece])

    def _damaged(self, what: str) -> VerificationError:
        return VerificationError(
            f"{self._url}: damaged ({what}), not the bytes that its manifest promises; "
            "`npd repair` mends it"
        )


def _mapped(file: BinaryIO) -> mmap.mmap:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    # Let the kernel read ahead while the first rows are used.
    mapped.madvise(mmap.MADV_WILLNEED)
    return mapped


def _sha256(piece: bytes | memoryview) -> bytes:
    return hashlib.sha256(piece).digest()
