"""Ledger and shards as Ray datasets; in one test, because Ray's data workers start slowly."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from ray.data.expressions import col

from tests.reader.others.ours import (
    NOISES,
    SHAPE,
    assert_ours,
    ledger_path,
    our_samples,
    shard_paths,
)


def test_ray_data_reads_ledger_tar_and_arrow_as_our_reader(
    sealed_folder: Path, ray_cluster: None
) -> None:
    ours = our_samples(sealed_folder)

    ledger = ray.data.read_parquet(ledger_path(sealed_folder))
    kept = ledger.filter(expr=(col("status") == "kept") & (col("split") == "train"))
    assert {row["sample_id"] for row in kept.take_all()} == ours.keys()

    tars = ray.data.read_webdataset(shard_paths(sealed_folder, "webdataset")).take_all()
    assert_ours([{**r["json"], **{n: r[f"{n}.npy"] for n in NOISES}} for r in tars], ours)

    tables = [
        pa.ipc.open_file(pa.memory_map(path)).read_all()
        for path in shard_paths(sealed_folder, "arrow")
    ]
    arrow = ray.data.from_arrow(tables)
    assert_ours(arrow.take_all(), ours)
    # In numpy batches a float16 list is an array of objects. pyarrow batches keep its type.
    seen = 0
    tables_of_four: Iterable[Any] = arrow.iter_batches(batch_format="pyarrow", batch_size=4)
    for batch in tables_of_four:
        golden = batch["golden_noise"].combine_chunks().flatten().to_numpy().reshape(-1, *SHAPE)
        for name, noise in zip(batch["sample_id"].to_pylist(), golden, strict=True):
            assert np.array_equal(noise, ours[name]["golden_noise"].numpy())
            seen += 1
    assert seen == len(ours)
