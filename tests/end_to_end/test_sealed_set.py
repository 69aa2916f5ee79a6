"""Commands on a sealed set: build again, add a plan, verify."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.core.records import Split
from pipeline.reader import NoisePairDataset
from pipeline.storage.open import open_store
from pipeline.storage.success import read_success
from tests.end_to_end.builds import CONFIG, NUM_UNITS, Npd, files, plan_id, write_config


def test_build_of_a_sealed_plan_does_nothing(npd: Npd, config_path: Path, copied: Path) -> None:
    before = files(copied)
    ended = npd("build", config_path, "--out", copied)
    assert ended.code == 0
    assert "already sealed; nothing to do" in ended.err
    assert files(copied) == before


def test_another_plan_is_rejected_and_can_be_added(npd: Npd, tmp_path: Path, copied: Path) -> None:
    other = write_config(tmp_path, CONFIG.replace("seed = 7", "seed = 8"))
    first, before = plan_id(copied), files(copied)
    rejected = npd("build", other, "--out", copied)
    assert rejected.code == 2
    assert f"already holds plan {first}" in rejected.err
    assert "--add" in rejected.err
    assert files(copied) == before

    pairs = {split: list(_samples(copied, split)) for split in Split}
    added = npd("build", other, "--out", copied, "--add", "--workers", 1)
    assert added.code == 0, added.err
    success = read_success(open_store(str(copied)))
    assert success is not None
    assert first in [sealed.plan_id for sealed in success.manifests]
    assert len(success.manifests) == 2
    for split in Split:
        both = list(_samples(copied, split))
        assert set(pairs[split]) <= set(both)
        assert len(set(both)) == len(both)
    assert sum(len(NoisePairDataset(str(copied), split)) for split in Split) > sum(
        map(len, pairs.values())
    )
    assert npd("status", copied).out.count("12 of 12 units (100%), sealed") == 2
    assert npd("verify", copied).code == 0


def _samples(folder: Path, split: Split) -> Iterator[str]:
    return (sample["sample_id"] for sample in NoisePairDataset(str(folder), split))


def test_verify_accepts_a_complete_set_and_names_a_damaged_shard(npd: Npd, copied: Path) -> None:
    complete = npd("verify", copied)
    assert complete.code == 0
    assert complete.out.startswith(f"1 plan, {NUM_UNITS} units, 24 candidates")
    assert complete.out.endswith("0 problems\n")

    shard = next((copied / "shards").rglob("train-*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    damaged = npd("verify", copied)
    assert damaged.code == 1
    assert f"wrong: {shard.relative_to(copied)}" in damaged.out
