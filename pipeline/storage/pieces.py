"""Digests of the pieces of a file, which let a reader check the part that it reads.

The SHA-256 of a file is its identity and protects against deliberate changes, but it is known only
after all of the file was read. The manifest also holds digests of pieces. They detect accidental
damage: XXH3 misses one damaged piece in 2**64 and is eight times as fast.
"""

import base64
from typing import BinaryIO

import xxhash

from pipeline.records import Record

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
