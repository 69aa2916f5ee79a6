"""Small files that would decode to gigabytes are rejected before memory is taken."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.errors import VerificationError
from pipeline.evaluate.scores import read_scores
from pipeline.publish.verify import verify
from pipeline.reader import NoisePairDataset, NoisePairTable
from pipeline.storage.formats.pictures import MAX_PIXELS, open_picture, pixels_of
from pipeline.storage.open import open_store
from pipeline.storage.sealed_files import ledger_bytes
from tests.fuzz.forge import forge, forge_manifest
from tests.sealed import manifest_of

_MANY = 3_000_000


def _with_many_rows(path: Path) -> bytes:
    """The ledger's first row, repeated: repeated values take almost no bytes."""
    table = pq.read_table(path)
    row = pa.array([0] * 100_000)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        for _ in range(_MANY // len(row)):
            writer.write_table(table.take(row))
    return sink.getvalue()


@pytest.mark.parametrize("promised", [False, True], ids=["other number", "number promised"])
def test_ledger_of_repeated_rows_is_rejected_before_it_is_decoded(
    damaged: Path, promised: bool
) -> None:
    (path,) = damaged.glob("ledgers/*/*.parquet")
    data = _with_many_rows(path)
    assert len(data) < _MANY
    key = str(forge(damaged, path, data).relative_to(damaged))
    if promised:
        # Forged further than any reader accepts, so the ledger is opened directly.
        manifest = manifest_of(damaged)
        info = manifest.ledger.model_copy(update={"num_rows": _MANY})
        manifest = manifest.model_copy(update={"ledger": info})
    else:
        manifest = manifest_of(damaged)
    store = open_store(str(damaged))
    before = pa.total_allocated_bytes()
    with pytest.raises(VerificationError, match=f"{key}.*rows"):
        read_scores(store, manifest)
    with pytest.raises(VerificationError, match=f"{key}.*rows"):
        ledger_bytes(store, manifest)
    assert pa.total_allocated_bytes() - before < 2 * len(data)
    assert key in {problem.key for problem in verify(store).problems}


def _png(width: int, height: int) -> bytes:
    sink = io.BytesIO()
    Image.new("1", (width, height)).save(sink, "png")
    return sink.getvalue()


PICTURES: dict[str, bytes] = {
    "too large": _png(MAX_PIXELS // 1000 + 1, 1000),
    "far too large": _png(20_000, 20_000),
    "cut off": _png(500, 500)[:60],
    "no picture": b"GIF89a" + bytes(100),
    "empty": b"",
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_picture_that_is_too_large_or_damaged_names_its_pair(picture: bytes) -> None:
    with pytest.raises(VerificationError, match="the picture of pair p-1"):
        pixels_of(open_picture(picture, "p-1"), "p-1")


@pytest.mark.parametrize(
    "read",
    [
        lambda url: list(NoisePairDataset(url, batch_size=4, columns=["golden_image"])),
        lambda url: list(NoisePairDataset(url, columns=["golden_image"])),
        lambda url: [NoisePairTable(url, columns=["golden_image"])[0]],
    ],
    ids=["batches", "samples", "table"],
)
def test_reader_rejects_a_picture_that_is_too_large(
    damaged: Path, read: Callable[[str], Any]
) -> None:
    for path in sorted(damaged.glob("shards/*/*/train*.arrow")):
        table = pa.ipc.open_file(path).read_all()
        index = table.schema.get_field_index("golden_image")
        large = pa.array([PICTURES["too large"]] * len(table), pa.binary())
        sink = io.BytesIO()
        changed = table.set_column(index, table.schema.field(index), large)
        with pa.ipc.new_file(sink, changed.schema) as writer:
            writer.write_table(changed, max_chunksize=2)
        forge(damaged, path, sink.getvalue())
    with pytest.raises(VerificationError, match="pixels"):
        read(str(damaged))


def test_manifest_that_promises_more_pairs_than_numbers_can_count_is_rejected(
    damaged: Path,
) -> None:
    def edit(content: dict[str, Any]) -> None:
        for formats in content["shards"].values():
            for shards in formats.values():
                for shard in shards:
                    shard["num_samples"] = 2**62

    forge_manifest(damaged, edit)
    with pytest.raises(VerificationError, match="damaged"):
        NoisePairDataset(str(damaged))
