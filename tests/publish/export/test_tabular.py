"""Exports to tar and Parquet, read by the intended libraries."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds

from pipeline.core.records import Split
from pipeline.storage.formats.pairs import PairSchema
from tests.publish.export.exports import SHAPE, export_to, our_samples
from tests.sealed import manifest_of

NOISES = ("source_noise", "golden_noise")


def _assert_ours(rows: Iterable[Mapping[str, Any]], ours: Mapping[str, Any]) -> None:
    found = {row["sample_id"]: row for row in rows}
    assert found.keys() == ours.keys()
    for name, row in found.items():
        for key in ("prompt", "prompt_id", "seed", "source_rewards", "golden_rewards"):
            assert row[key] == ours[name][key]
        for key in NOISES:
            noise = np.asarray(row[key], dtype=np.float16).reshape(SHAPE)
            assert np.array_equal(noise, ours[name][key].numpy())


@pytest.mark.parametrize("data_set", ["sealed_folder", "bare_folder"])
def test_webdataset_reads_tars_of_the_wanted_size(
    data_set: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sealed: Path = request.getfixturevalue(data_set)
    export_to(tmp_path, sealed, "webdataset", "train", samples_per_file=4)
    ours = our_samples(sealed)
    tars = sorted(map(str, tmp_path.glob("train-*.tar")))
    samples = [list(wds.WebDataset(tar, shardshuffle=False).decode()) for tar in tars]
    assert [len(each) for each in samples[:-1]] == [4] * (len(tars) - 1)
    rows = [
        {**sample["json"], **{name: sample[f"{name}.npy"] for name in NOISES}}
        for each in samples
        for sample in each
    ]
    _assert_ours(rows, ours)


def test_parquet_has_the_columns_and_rows_of_the_arrow_shards(
    sealed_folder: Path, tmp_path: Path
) -> None:
    export_to(tmp_path, sealed_folder, "parquet", samples_per_file=4)
    for split in Split:
        shards = manifest_of(sealed_folder).shards[split]["arrow"]
        sealed = pa.concat_tables(
            pa.ipc.open_file(str(sealed_folder / shard.key)).read_all() for shard in shards
        )
        files = sorted(tmp_path.glob(f"{split.value}-*.parquet"))
        assert [pq.read_metadata(file).num_rows for file in files[:-1]] == [4] * (len(files) - 1)
        exported = pa.concat_tables(map(pq.read_table, files))
        assert exported.schema.equals(sealed.schema)
        assert PairSchema.of(exported.schema).latent_shape == SHAPE
        assert exported.equals(sealed)


def test_parquet_holds_source_noise_that_is_not_stored(bare_folder: Path, tmp_path: Path) -> None:
    export_to(tmp_path, bare_folder, "parquet")
    rows = pq.read_table(tmp_path / "train-00000-of-00001.parquet").to_pylist()
    _assert_ours(rows, our_samples(bare_folder))
    assert rows[0]["source_image"] is None


def test_duckdb_reads_noises_from_parquet(sealed_folder: Path, tmp_path: Path) -> None:
    export_to(tmp_path, sealed_folder, "parquet", samples_per_file=4)
    names = ["sample_id", "prompt", "prompt_id", "seed", "source_rewards", "golden_rewards"]
    query = f"select {', '.join([*names, *NOISES])} from '{tmp_path}/train-*.parquet'"
    found = duckdb.sql(query)
    assert found is not None
    rows = [dict(zip([*names, *NOISES], row, strict=True)) for row in found.fetchall()]
    _assert_ours(rows, our_samples(sealed_folder))
