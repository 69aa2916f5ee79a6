"""Shards of several pieces: damaged pieces are never returned, all others are."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.sdxl_pairs import write_pairs
from pipeline.core.errors import VerificationError
from pipeline.core.records import Split
from pipeline.reader import NoisePairDataset, NoisePairTable
from pipeline.storage.formats.checked_bytes import PIECE_BYTES, ShardInfo
from tests.publish.damage import drop_pieces
from tests.sealed import manifest_of

_COUNT = 12
_SHAPE = (4, 64, 64)
"""Both noises of two rows fill one piece."""


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard of seven pieces in four record batches. Read only."""
    folder = tmp_path_factory.mktemp("large")
    write_pairs(str(folder), _COUNT, latent_shape=_SHAPE, rows_per_batch=3)
    return folder


@pytest.fixture
def large_copy(large_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(large_folder, tmp_path / "large"))


@pytest.fixture(scope="module")
def rows(large_folder: Path) -> list[dict[str, Any]]:
    return list(NoisePairTable(str(large_folder), verify=False))


def _shard(folder: Path) -> tuple[ShardInfo, Path]:
    (info,) = manifest_of(folder).shards[Split.TRAIN]["arrow"]
    return info, folder / info.key


def _is_same(row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    noises = ("source_noise", "golden_noise")
    return all(
        torch.equal(row[name], value) if name in noises else row[name] == value
        for name, value in wanted.items()
    )


def _flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def test_damaged_pieces_are_never_returned(large_copy: Path, rows: list[dict[str, Any]]) -> None:
    info, path = _shard(large_copy)
    refused = []
    # The start, the first batch's header and texts, and then a step that hits noises and the rest.
    for position in [0, 9, 400, 2_000, *range(5_000, info.num_bytes, 61_001)]:
        _flip(path, position)
        begin = position // PIECE_BYTES * PIECE_BYTES
        end = min(begin + PIECE_BYTES, info.num_bytes)
        named = f"{info.key}: damaged .bytes {begin:,} to {end:,}.*npd repair"
        table = NoisePairTable(str(large_copy))
        count = 0
        for number, wanted in enumerate(rows):
            try:
                assert _is_same(table[number], wanted)
            except VerificationError as error:
                assert re.search(named, str(error))
                count += 1
        refused.append(count)
        with pytest.raises(VerificationError, match=named):
            list(NoisePairDataset(str(large_copy), batch_size=4, seed=0))
        _flip(path, position)
    assert 0 < min(refused) < max(refused), "if only noises are damaged, other rows are returned"


def test_skipped_damage_leaves_out_the_complete_shard(large_copy: Path) -> None:
    info, path = _shard(large_copy)
    _flip(path, info.num_bytes - 3 * PIECE_BYTES)
    pairs = NoisePairDataset(str(large_copy), on_damage="skip")
    with pytest.warns(UserWarning, match=f"skipped a shard: .*{info.key}"):
        assert list(pairs) == []


@pytest.mark.parametrize("position", [400, 300_000])
def test_shard_sealed_without_pieces_is_checked_completely(
    large_copy: Path, rows: list[dict[str, Any]], position: int
) -> None:
    drop_pieces(large_copy)
    info, path = _shard(large_copy)
    assert info.pieces is None
    given = [*NoisePairDataset(str(large_copy))]
    assert all(_is_same(row, wanted) for row, wanted in zip(given, rows, strict=True))
    _flip(path, position)
    for number in (0, _COUNT - 1):
        with pytest.raises(VerificationError, match=f"{info.key}: damaged"):
            NoisePairTable(str(large_copy))[number]
