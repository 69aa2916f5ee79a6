"""Random access, compared with the data set in its stored order."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

from benchmarks.sdxl_pairs import write_pairs
from pipeline.core.errors import UserError
from pipeline.reader import NoisePairDataset, NoisePairTable
from tests.reader.conftest import COUNT, SHAPE


@pytest.fixture(params=["arrow", "webdataset"])
def folder(request: pytest.FixtureRequest, pairs_folder: Path, tmp_path: Path) -> Path:
    if request.param == "arrow":
        return pairs_folder
    write_pairs(str(tmp_path), COUNT, latent_shape=SHAPE, shard_bytes=2560, formats=("webdataset",))
    return tmp_path


def _is(one: dict[str, Any], other: dict[str, Any]) -> bool:
    assert one.keys() == other.keys()
    return all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


def test_table_rows_are_the_samples_by_row_and_id(folder: Path) -> None:
    samples = [*NoisePairDataset(str(folder))]
    table = NoisePairTable(str(folder))
    assert len(table) == len(samples) == COUNT and table.latent_shape == SHAPE
    for row in (0, 9, 10, 57, COUNT - 1, -1, -COUNT):
        assert _is(table[row], samples[row])
        sample_id = samples[row]["sample_id"]
        assert table.row_of(sample_id) == row % COUNT
        assert _is(table[sample_id], samples[row])
    assert all(_is(one, other) for one, other in zip(table, samples, strict=True))


def test_table_batches_are_rows_in_the_requested_order(folder: Path) -> None:
    samples = [*NoisePairDataset(str(folder))]
    table = NoisePairTable(str(folder), dtype=torch.float32)
    for key, rows in (([90, 3, 3], [90, 3, 3]), (slice(8, 40, 7), [8, 15, 22, 29, 36])):
        batch = table[key]
        assert batch["sample_id"] == [samples[row]["sample_id"] for row in rows]
        golden = torch.stack([samples[row]["golden_noise"] for row in rows])
        assert torch.equal(batch["golden_noise"], golden.float())


def test_filtered_table_has_the_rows_that_pass(folder: Path) -> None:
    table = NoisePairTable(str(folder), min_gain={"image_reward": 1.0}, columns=["golden_rewards"])
    samples = [*NoisePairDataset(str(folder), min_gain={"image_reward": 1.0})]
    assert 0 < len(table) == len(samples) < COUNT
    assert [row["golden_rewards"] for row in table] == [s["golden_rewards"] for s in samples]


def test_table_under_a_sampler_and_workers(pairs_folder: Path) -> None:
    table = NoisePairTable(str(pairs_folder))
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        table, batch_size=16, sampler=RandomSampler(table, generator=generator), num_workers=2
    )
    ids = [sample_id for batch in loader for sample_id in batch["sample_id"]]
    assert sorted(ids) == sorted(sample["sample_id"] for sample in table)


def test_missing_row_is_an_error(pairs_folder: Path) -> None:
    table = NoisePairTable(str(pairs_folder))
    for row in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError, match=f"row {row} of {COUNT}"):
            table[row]
    with pytest.raises(KeyError, match="unknown"):
        table["unknown"]
    with pytest.raises(UserError, match="a batch has at least one row"):
        table[[]]


def test_table_id_in_two_plans_is_refused(tmp_path: Path) -> None:
    for reward in ("one", "two"):
        write_pairs(str(tmp_path), 5, latent_shape=SHAPE, rewards=(reward,))
    table = NoisePairTable(str(tmp_path))
    with pytest.raises(UserError, match=r"in rows \[0, 5\], of several plans"):
        table[table[0]["sample_id"]]
    plan_id = table[5]["plan_id"]
    chosen = NoisePairTable(str(tmp_path), plans=[plan_id])
    assert chosen[table[0]["sample_id"]]["plan_id"] == plan_id
