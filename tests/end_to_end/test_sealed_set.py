"""Commands on a sealed set: build again, verify. What its objects contain."""

import json
from pathlib import Path

from pipeline.config.file import BUNDLED
from pipeline.storage.open import open_store
from tests.end_to_end.builds import (
    NUM_UNITS,
    Npd,
    files,
    sealed_bytes,
    stored_receipts,
)


def test_build_of_a_sealed_plan_does_nothing(npd: Npd, config_path: Path, copied: Path) -> None:
    before = files(copied)
    ended = npd("build", config_path, "--out", copied)
    assert ended.code == 0
    assert "already sealed; nothing to do" in ended.err
    assert files(copied) == before


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


def test_sealed_objects_contain_nothing_of_this_machine(undisturbed: Path) -> None:
    receipts = [json.loads(data) for data in stored_receipts(open_store(str(undisturbed))).values()]
    secrets = {receipt[name] for receipt in receipts for name in ("attempt_id", "host", "started")}
    secrets |= {str(undisturbed), str(BUNDLED)}
    for key in sealed_bytes(undisturbed):
        data = (undisturbed / key).read_bytes()
        assert [secret for secret in secrets if secret.encode() in data] == []
