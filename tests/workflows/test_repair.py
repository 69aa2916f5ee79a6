"""``npd repair`` with real workers: damaged units are computed again by the models."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import UserError
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.receipts import read_receipt
from tests.sealed import Built, built, changed, damaged, write_config

__all__ = ["built", "damaged"]


def _objects(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("")}


def test_damaged_units_are_computed_again_by_a_worker(
    ray_cluster: None, damaged: Path, built: Built, tmp_path: Path
) -> None:
    store = open_store(str(damaged))
    before = _objects(store)
    unit = read_receipt(store, built.plan.plan_id, 2).data_key
    receipt = layout.receipt_key(built.plan.plan_id, 1)
    (damaged / unit).write_bytes(b"rubbish")
    (damaged / receipt).unlink()

    with pytest.raises(UserError, match=r"2 units of plan .* \(1, 2\); give .* --config"):
        CliRunner().invoke(app, ["repair", str(damaged)], catch_exceptions=False)
    write_config(tmp_path / "other", changed(prompts={"seed": 8}))
    with pytest.raises(UserError, match="the configuration is that of plan"):
        CliRunner().invoke(
            app,
            ["repair", str(damaged), "--config", str(tmp_path / "other" / "build.toml")],
            catch_exceptions=False,
        )
    write_config(tmp_path / "config")
    ended = CliRunner().invoke(
        app,
        ["repair", str(damaged), "--config", str(tmp_path / "config" / "build.toml")],
        catch_exceptions=False,
    )
    assert ended.exit_code == 0, ended.output
    lines = [line for line in ended.output.splitlines() if line.startswith("rebuilt")]
    assert lines == [f"rebuilt: {receipt}", f"rebuilt: {unit}"]
    assert "0 orphans, 0 disagreements, 0 problems" in ended.output
    assert {**_objects(store), receipt: b""} == {**before, receipt: b""}
    assert read_receipt(store, built.plan.plan_id, 1).outcomes == built.units[1].outcomes
