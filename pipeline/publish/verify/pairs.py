"""Pairs of a file, checked so that all readers find the same ones."""

from pipeline.errors import VerificationError
from pipeline.reader.arrow_messages import check_footer, read_blocks
from pipeline.reader.columns import UNREADABLE
from pipeline.reader.shard_refs import ShardRef
from pipeline.reader.shards import read_columns, read_pairs
from pipeline.storage.formats.checked_bytes import CheckedBytes
from pipeline.storage.schema import NoisePair


def checked_pairs(data: bytes, ref: ShardRef) -> list[NoisePair]:
    """Read the pairs of a shard or unit object, as this project's readers do.

    Raises ``VerificationError`` if they would reject it, or if a reader that uses the footer of
    an Arrow file would find other pairs.
    """
    content = CheckedBytes(data, ref.info, None, ref.url)
    columns = read_columns(content, ref)
    try:
        if ref.format == "arrow":
            check_footer(content, read_blocks(content))
        return list(read_pairs(columns, ref.schema))
    except UNREADABLE as error:
        raise VerificationError(f"{ref.url}: cannot be read: {error}") from None
