"""Tests of a few pairs of a remote shard: little is downloaded, and all of that is checked."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.core.records import Split
from pipeline.storage.fetched_bytes import open_in_pieces
from pipeline.storage.formats.checked_bytes import Pieces, digest_of
from pipeline.storage.open import open_store
from pipeline.storage.sealed_files import ShardRef, open_whole, shard_refs
from tests.faults.simulated.memory_store import Clock, MemoryStore, Objects
from tests.sealed import built, damaged, manifest_of, sealed_folder

__all__ = ["built", "damaged", "sealed_folder"]

PIECE = 256


class Counted(MemoryStore):
    """Store that counts the bytes that are downloaded in ranges."""

    num_bytes = 0

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data = super().get_range(key, start, length)
        self.num_bytes += len(data)
        return data


def remote(folder: Path) -> tuple[ShardRef, ShardRef, Counted]:
    """Return the same shard in a local and in a remote store, with digests of small pieces."""
    local = shard_refs(open_store(str(folder)), manifest_of(folder), Split.TRAIN, "arrow")[0]
    data = local.store.get(local.info.key)
    digests = b"".join(digest_of(data[at : at + PIECE]) for at in range(0, len(data), PIECE))
    pieces = Pieces(num_bytes=PIECE, xxh3_64=base64.b64encode(digests).decode())
    store = Counted(Objects(Clock()))
    store.put(local.info.key, data)
    info = local.info.model_copy(update={"pieces": pieces})
    return local, replace(local, store=store, info=info), store


def test_pairs_are_those_of_the_complete_shard(sealed_folder: Path) -> None:
    local, ref, store = remote(sealed_folder)
    expected, found = open_whole(local), open_in_pieces(ref)
    row = expected.num_pairs - 1
    before = store.num_bytes
    assert before < ref.info.num_bytes, "opening reads headers and small columns"
    pair = found.pair(row)
    assert pair.sample_id == expected.pair(row).sample_id
    assert pair.golden_image == expected.pair(row).golden_image
    assert (pair.golden_noise == expected.pair(row).golden_noise).all()
    assert store.num_bytes < ref.info.num_bytes
    after = store.num_bytes
    found.pair(row)
    assert store.num_bytes == after, "nothing is downloaded twice"


def test_damage_of_a_shown_pair_is_found_and_other_damage_is_not_read(
    sealed_folder: Path,
) -> None:
    _, ref, store = remote(sealed_folder)
    data = bytearray(store.get(ref.info.key))
    image = open_whole(ref).images["golden_image"](0)
    at = bytes(data).index(image) + len(image) // 2
    data[at] ^= 1
    store.put(ref.info.key, bytes(data))
    columns = open_in_pieces(ref)
    columns.pair(columns.num_pairs - 1)
    with pytest.raises(VerificationError, match="damaged"):
        columns.pair(0)


def test_shard_of_another_size_or_without_object_is_refused(sealed_folder: Path) -> None:
    _, ref, store = remote(sealed_folder)
    store.put(ref.info.key, store.get(ref.info.key) + b"x")
    with pytest.raises(VerificationError, match="in place of"):
        open_in_pieces(ref)
    store.delete(ref.info.key)
    with pytest.raises(ObjectNotFoundError):
        open_in_pieces(ref)
