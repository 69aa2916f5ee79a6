"""Digests of the pieces of a file: who reads a part of it can check that part alone.

A file's SHA-256 is its identity, and vouches for it against anybody; but it is known only when the
whole file has been read. The pieces' digests stand beside it in the manifest, whose own digest is
promised, and find accidents: XXH3 misses one damaged piece in 2**64, and is eight times as quick.
"""

import base64
from typing import BinaryIO

import xxhash

from pipeline.records import Record

PIECE_BYTES = 128 * 1024
"""One noise of SDXL's size: half of what rows read at random need checked is theirs. The digests
are a 16,000th of the data."""

_DIGEST_BYTES = 8


class Pieces(Record):
    """The digests of a file, piece after piece."""

    num_bytes: int
    """Of a piece; the last may have fewer."""
    xxh3_64: str
    """All digests in order, big-endian, in base64."""

    def digests(self) -> list[bytes]:
        """Of every piece. Raises ``ValueError`` where they are no base64."""
        joined = base64.b64decode(self.xxh3_64, validate=True)
        return [joined[at : at + _DIGEST_BYTES] for at in range(0, len(joined), _DIGEST_BYTES)]


def is_complete(pieces: Pieces, num_bytes: int) -> bool:
    """Return whether there is a digest for every piece of a file, by their number alone."""
    if pieces.num_bytes < 1:
        return False
    count = -(-num_bytes // pieces.num_bytes)
    return len(pieces.xxh3_64) == -(-count * _DIGEST_BYTES // 3) * 4  # base64: 4 characters for 3


def digest_of(piece: bytes | memoryview) -> bytes:
    """Of one piece. Other threads run meanwhile: seen, 6 GB/s for each."""
    return xxhash.xxh3_64_digest(piece)


def pieces_of(file: BinaryIO) -> Pieces:
    """Of all that a file holds from where it stands."""
    joined = b"".join(map(digest_of, iter(lambda: file.read(PIECE_BYTES), b"")))
    return Pieces(num_bytes=PIECE_BYTES, xxh3_64=base64.b64encode(joined).decode())
