"""Members of a webdataset shard.

Tar readers differ in their treatment of links, sparse files, extended headers, duplicate names and
data after the end. A shard has none of these. Any tar file that this project would not write is
rejected, so that all readers find the same files.
"""

import mmap
import re
import struct
from collections.abc import Iterator

Members = dict[str, tuple[int, int]]
"""Maps the extension of each file of a sample to the start and stop of its bytes."""

_BLOCK_BYTES = 512
_END_BYTES = 2 * _BLOCK_BYTES

_FIELDS = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 8s 32s 32s 8s 8s 155s 12s")
"""Fields of a header: name, mode, uid, gid, size, time, checksum, type, link, magic, user, group,
major and minor device, prefix of the name, padding."""
_CHECKSUM = slice(148, 156)
_NAME = re.compile(rb"([0-9A-Za-z_-]+\.[a-z_]+(?:\.[a-z_]+)?)\0+")
_SIZE = re.compile(rb"[0-7]{11}\0")
_REGULAR_FILE = b"0"
_USTAR = b"ustar\x0000"


def read_members(data: bytes | mmap.mmap) -> list[tuple[str, Members]]:
    """Return the id and the file positions of each sample, in their order in the tar file.

    Raises ``ValueError`` for a tar file that this project does not write.
    """
    samples: list[tuple[str, Members]] = []
    for name, start, stop in _files(data):
        sample_id, _, extension = name.partition(".")
        if not samples or samples[-1][0] != sample_id:
            samples.append((sample_id, {}))
        if extension in samples[-1][1]:
            raise ValueError(f"it holds {name} twice")
        samples[-1][1][extension] = (start, stop)
    if len({sample_id for sample_id, _ in samples}) < len(samples):
        raise ValueError("the files of a sample do not stand together")
    return samples


def _files(data: bytes | mmap.mmap) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each file with the start and stop of its bytes."""
    at, end = 0, len(data)
    while at + _BLOCK_BYTES <= end:
        header = data[at : at + _BLOCK_BYTES]
        if not any(header):
            if end - at < _END_BYTES or any(data[at:end]):
                raise ValueError(f"something stands behind its end, which is byte {at:,}")
            return
        name, num_bytes = _name_and_size(header, at)
        start = at + _BLOCK_BYTES
        if start + num_bytes > end:
            raise ValueError(f"{name} is cut off")
        yield name, start, start + num_bytes
        at = start + -(-num_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
    raise ValueError("it has no end")


def _name_and_size(header: bytes, at: int) -> tuple[str, int]:
    name, _, _, _, size, _, checksum, kind, link, magic, *_, prefix, _ = _FIELDS.unpack(header)
    blank = header[: _CHECKSUM.start] + b" " * 8 + header[_CHECKSUM.stop :]
    if checksum.rstrip(b"\0 ") != b"%06o" % sum(blank):
        raise ValueError(f"the header at byte {at:,} has another checksum")
    found = _NAME.fullmatch(name)
    is_plain = kind == _REGULAR_FILE and magic == _USTAR and not any(link + prefix)
    if found is None or not is_plain or _SIZE.fullmatch(size) is None:
        raise ValueError(f"the member at byte {at:,} is no plain file of a sample")
    return found[1].decode(), int(size[:-1], 8)
