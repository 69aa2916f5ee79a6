"""The audit finds lost, duplicated and changed objects."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.storage.local import LocalStore
from tests.faults.real.audit import (
    AuditResult,
    DriverDeath,
    Recomputed,
    Sealed,
    StoreAudit,
    num_again,
    read_sealed,
    recomputed,
)
from tests.faults.real.gate import Seen


@pytest.fixture
def undisturbed(sealed_folder: Path) -> Sealed:
    return read_sealed(LocalStore(sealed_folder))


@pytest.fixture
def audit(damaged: Path) -> StoreAudit:
    """An audit that has seen all receipts before any damage."""
    audit = StoreAudit(LocalStore(damaged))
    assert audit.committed()
    return audit


def _receipt(folder: Path) -> Path:
    return next(folder.glob("receipts/*/*.json"))


def test_complete_build_has_no_problems(audit: StoreAudit, undisturbed: Sealed) -> None:
    result = audit.close(undisturbed)
    assert result == AuditResult()
    assert list(result.problems()) == []


def test_missing_receipt_is_lost(audit: StoreAudit, damaged: Path, undisturbed: Sealed) -> None:
    receipt = _receipt(damaged)
    receipt.unlink()
    result = audit.close(undisturbed)
    assert result.lost == [str(receipt.relative_to(damaged))]
    assert result.unverified
    assert not result.different


def test_receipt_of_another_attempt_is_changed(
    audit: StoreAudit, damaged: Path, undisturbed: Sealed
) -> None:
    receipt = _receipt(damaged)
    receipt.write_text(json.dumps(json.loads(receipt.read_text()) | {"attempt_id": "later"}))
    result = audit.close(undisturbed)
    assert result == AuditResult(changed=[str(receipt.relative_to(damaged))])


@pytest.mark.parametrize(
    ("alter", "field"),
    [
        (lambda rows: rows.slice(1), "lost"),
        (lambda rows: pa.concat_tables([rows, rows]), "duplicated"),
    ],
)
def test_missing_and_duplicated_pairs_are_named(
    audit: StoreAudit,
    damaged: Path,
    undisturbed: Sealed,
    alter: Callable[[pa.Table], pa.Table],
    field: str,
) -> None:
    shard = next(damaged.rglob("train-*.arrow"))
    rows = pa.ipc.open_file(io.BytesIO(shard.read_bytes())).read_all()
    altered = alter(rows)
    with pa.OSFile(str(shard), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(altered)
    result = audit.close(undisturbed)
    ids = rows["sample_id"].to_pylist()
    assert getattr(result, field) == (ids[:1] if field == "lost" else ids)
    assert result.different == [str(shard.relative_to(damaged))]


def _seen(*units: int, start: float) -> list[Seen]:
    return [Seen(start + index, "node", 1, unit) for index, unit in enumerate(units)]


def test_units_in_flight_and_finished_units_are_counted_separately() -> None:
    death = DriverDeath(when=10.0, committed=frozenset({0, 1}))
    uploads = _seen(0, 1, 2, 3, start=0.0) + _seen(2, 4, 1, start=11.0)
    assert recomputed(death, uploads) == Recomputed(in_flight=1, finished=1)
    assert num_again(uploads) == 2
