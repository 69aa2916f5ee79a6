"""Compaction of unit objects into shards."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.errors import VerificationError
from pipeline.core.identity import sha256
from pipeline.core.records import Split
from pipeline.publish.compact import ShardTask, compact, plan_shards
from pipeline.storage import layout
from pipeline.storage.formats.pairs import PairSchema
from pipeline.storage.layout import ShardFormat
from pipeline.storage.open import open_store
from pipeline.storage.receipts import read_receipts
from tests.sealed import Built, manifest_of


def _tasks(folder: Path, built: Built, shard_format: ShardFormat) -> list[ShardTask]:
    receipts = read_receipts(open_store(str(folder)), built.plan.plan_id, built.plan.num_units)
    return [
        ShardTask(
            url=str(folder),
            plan_id=built.plan.plan_id,
            version=1,
            shard=shard,
            format=shard_format,
            rows_per_batch=2,
            schema=PairSchema.of_plan(built.plan, manifest_of(folder).latent_shape),
        )
        for shard in plan_shards(receipts, built.plan.settings.output.shard_bytes)
    ]


def test_arrow_shards_rows_are_those_of_the_units_in_order(
    sealed_folder: Path, built: Built
) -> None:
    units = [pa.ipc.open_file(pa.BufferReader(unit.data)).read_all() for unit in built.units]
    rows = {row["sample_id"]: row for unit in units for row in unit.to_pylist()}
    kept = [o for unit in built.units for o in unit.outcomes if o.num_bytes]
    manifest = manifest_of(sealed_folder)
    for split in Split:
        found = []
        for shard in manifest.shards[split]["arrow"]:
            file = pa.ipc.open_file(str(sealed_folder / shard.key))
            sizes = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
            assert sizes == [2] * (shard.num_samples // 2) + [1] * (shard.num_samples % 2)
            assert file.schema.equals(units[0].schema, check_metadata=True)
            found += file.read_all().to_pylist()
        assert found == [rows[o.sample_id] for o in kept if o.split is split]
    assert len(manifest.shards[Split.TRAIN]["arrow"]) > 1


@pytest.mark.parametrize("shard_format", ["arrow", "webdataset"])
def test_compact_twice_is_the_same_bytes_under_the_name_of_their_content(
    damaged: Path, built: Built, shard_format: ShardFormat
) -> None:
    task = _tasks(damaged, built, shard_format)[0]
    first = compact(task)
    data = (damaged / first.info.key).read_bytes()
    (damaged / first.info.key).unlink()
    assert compact(task) == first == compact(task)
    assert (damaged / first.info.key).read_bytes() == data
    assert (first.info.sha256, first.info.num_bytes) == (sha256(data), len(data))
    assert first.info in manifest_of(damaged).shards[first.split][shard_format]
    assert first.info.key == layout.shard_key(
        built.plan.plan_id, 1, first.split, 0, first.info.sha256, shard_format
    )


def test_unit_object_damaged_is_named(damaged: Path, built: Built) -> None:
    task = _tasks(damaged, built, "arrow")[0]
    key = task.shard.units[0].data_key
    data = bytearray((damaged / key).read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / key).write_bytes(data)
    with pytest.raises(VerificationError, match=f"{key}: not the bytes that its receipt promises"):
        compact(task)


def test_shard_damaged_under_its_own_name_is_not_taken_for_written(
    damaged: Path, built: Built
) -> None:
    task = _tasks(damaged, built, "arrow")[0]
    key = compact(task).info.key
    (damaged / key).write_bytes(b"rubbish")
    with pytest.raises(VerificationError, match=f"{key}: damaged"):
        compact(task)
