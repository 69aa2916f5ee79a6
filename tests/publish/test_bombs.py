"""Small files that would decode to gigabytes are rejected before memory is taken."""

import io
import os
from collections.abc import Callable
from contextlib import suppress
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
from pipeline.workflows.status import status
from tests.fuzz.forge import forge, forge_manifest
from tests.peak_memory import peak_memory_below
from tests.sealed import manifest_of

_MANY = 300_000


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


@pytest.mark.parametrize(
    "pattern",
    [
        "_SUCCESS",
        "manifests/*/v1.json",
        "plans/*/plan.json",
        "plans/*/prompts.parquet",
        "plans/*/dropped-*.parquet",
        "receipts/*/00000001.json",
        "units/*/00000001-*.arrow",
        "shards/*/v1/train-000000-*.arrow",
        "shards/*/v1/train-000000-*.tar",
        "ledgers/*/v1-*.parquet",
    ],
)
def test_object_of_gigabytes_that_take_no_space_is_a_finding(damaged: Path, pattern: str) -> None:
    (path,) = damaged.glob(pattern)
    os.truncate(path, 2**34)
    store = open_store(str(damaged))
    key = str(path.relative_to(damaged))
    with peak_memory_below(300_000_000):
        assert key in {problem.key for problem in verify(store).problems}
        with suppress(VerificationError):
            status(store)


def _set(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value

    return edit


def _select_by_nothing(content: dict[str, Any]) -> None:
    for reward in content["plan"]["settings"]["rewards"]:
        reward["select"] = False
    content["selection"] = {}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("plan", "num_units", value=10**12), "1000000000000 units for 48 candidates"),
        (_set("plan", "num_candidates", value=10**15), "candidates for 24 prompts"),
        (_set("latent_shape", value=[2**20, 2**20]), "the latent shape is"),
        (_select_by_nothing, "no reward selects"),
    ],
)
def test_manifest_whose_plan_contradicts_itself_is_rejected(
    damaged: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    forge_manifest(damaged, edit)
    with pytest.raises(VerificationError, match=message):
        NoisePairDataset(str(damaged))
    assert any(message in problem.text for problem in verify(open_store(str(damaged))).problems)
