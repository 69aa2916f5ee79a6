"""Digests of pieces against xxHash's published values and a straight-line reference."""

import base64
import io
import os
from pathlib import Path

import pytest
import xxhash

from pipeline.core.errors import VerificationError
from pipeline.storage.formats.checked_bytes import (
    PIECE_BYTES,
    CheckedBytes,
    Pieces,
    ShardInfo,
    digest_of,
    pieces_of,
)


def test_digest_is_xxh3_of_64_bits() -> None:
    # The specification's value for no bytes and seed 0.
    assert digest_of(b"").hex() == "2d06800538d394c2"


@pytest.mark.parametrize("count", [1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES - 1])
def test_pieces_are_those_of_slices(count: int) -> None:
    data = bytes(range(251)) * (count // 251 + 1)
    file = io.BytesIO(data[:count])
    pieces = pieces_of(file)
    wanted = []
    for start in range(0, count, PIECE_BYTES):
        hasher = xxhash.xxh3_64()
        hasher.update(data[start : min(start + PIECE_BYTES, count)])
        wanted.append(hasher.intdigest().to_bytes(8, "big"))
    assert pieces.digests() == wanted
    assert Pieces.model_validate_json(pieces.model_dump_json()) == pieces


def test_pieces_that_are_no_base64_are_refused() -> None:
    with pytest.raises(ValueError):
        Pieces(num_bytes=1, xxh3_64="?" + base64.b64encode(b"x" * 8).decode()).digests()


@pytest.mark.parametrize("verify", [True, False])
def test_file_that_became_shorter_is_an_error_and_not_a_signal(
    tmp_path: Path, verify: bool
) -> None:
    path = tmp_path / "shard"
    path.write_bytes(bytes(3 * PIECE_BYTES))
    with path.open("rb") as file:
        pieces = pieces_of(file)
        info = ShardInfo(
            key="k", sha256="0" * 64, num_samples=1, num_bytes=3 * PIECE_BYTES, pieces=pieces
        )
        known = memoryview(bytearray(3)) if verify else None
        content = CheckedBytes(file, info, known, "URL")
    content.check(0, 10)
    os.truncate(path, PIECE_BYTES)
    with pytest.raises(VerificationError, match=r"URL: damaged \(131,072 bytes now"):
        content.check(2 * PIECE_BYTES, 3 * PIECE_BYTES)
