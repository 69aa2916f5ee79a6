"""Bytes of a remote shard, of which only the pieces in use are downloaded and checked.

A report shows a few pairs out of terabytes. A pair needs its own pieces and those of the small
columns, a few per cent of its shard.
"""

import os
import tempfile

from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.storage.formats.checked_bytes import CheckedBytes, num_pieces
from pipeline.storage.formats.pairs import PairColumns
from pipeline.storage.local import LocalStore
from pipeline.storage.sealed_files import ShardRef, open_whole, read_columns


class FetchedBytes(CheckedBytes):
    """A sparse local file that is filled from the store, piece by piece, before a range is used."""

    def __init__(self, ref: ShardRef) -> None:
        """Create the file. Raises ``VerificationError`` if the object has another size.

        The shard must have digests of its pieces.
        """
        assert ref.info.pieces is not None, "without digests of pieces, a shard is one piece"
        found = ref.store.head(ref.info.key)
        if found is None:
            raise ObjectNotFoundError(f"{ref.url}: missing")
        if found.num_bytes != ref.info.num_bytes:
            raise VerificationError(
                f"{ref.url}: {found.num_bytes:,} bytes in place of {ref.info.num_bytes:,}; "
                "`npd repair` repairs it"
            )
        self._ref = ref
        self._size = ref.info.pieces.num_bytes
        self._fetched = bytearray(num_pieces(ref.info))
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the mapping
        self._file.truncate(ref.info.num_bytes)
        known = memoryview(bytearray(num_pieces(ref.info)))
        super().__init__(self._file, ref.info, known, ref.url)

    def check(self, start: int, stop: int) -> None:
        """Download the missing pieces of a range and check them."""
        if stop <= start:
            return
        first, behind = start // self._size, -(-stop // self._size)
        missing = [piece for piece in range(first, behind) if not self._fetched[piece]]
        if missing:
            # One request for all, because a request costs as much time as several pieces.
            self._fetch(missing[0], missing[-1] + 1)
        super().check(start, stop)

    def _fetch(self, first: int, behind: int) -> None:
        start = first * self._size
        length = min(behind * self._size, self.num_bytes) - start
        data = self._ref.store.get_range(self._ref.info.key, start, length)
        # The mapping shares the pages of the file, so it sees what is written.
        os.pwrite(self._file.fileno(), data, start)
        self._fetched[first:behind] = b"\1" * (behind - first)


def open_in_pieces(ref: ShardRef) -> PairColumns:
    """Open a shard to read a few of its pairs, and check the pieces that they need.

    A local shard, or one without digests of pieces, is checked completely. Raises
    ``ObjectNotFoundError`` or ``VerificationError`` with the shard's name.
    """
    if ref.info.pieces is None or isinstance(ref.store, LocalStore):
        return open_whole(ref)
    return read_columns(FetchedBytes(ref), ref)
