"""The accountant finds what it is there to find."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.storage.local import LocalStore
from tests.faults.real.audit import (
    Account,
    Accountant,
    DriverDeath,
    Recomputed,
    Sealed,
    num_again,
    read_sealed,
    recomputed,
)
from tests.faults.real.gate import Seen


@pytest.fixture
def whole(sealed_folder: Path) -> Sealed:
    return read_sealed(LocalStore(sealed_folder))


@pytest.fixture
def accountant(damaged: Path) -> Accountant:
    """One that has seen all receipts before any damage was done."""
    accountant = Accountant(LocalStore(damaged))
    assert accountant.committed()
    return accountant


def _receipt(folder: Path) -> Path:
    return next(folder.glob("receipts/*/*.json"))


def test_whole_build_has_a_clean_account(accountant: Accountant, whole: Sealed) -> None:
    account = accountant.close(whole)
    assert account == Account()
    assert list(account.problems()) == []


def test_receipt_that_is_gone_is_lost(accountant: Accountant, damaged: Path, whole: Sealed) -> None:
    receipt = _receipt(damaged)
    receipt.unlink()
    account = accountant.close(whole)
    assert account.lost == [str(receipt.relative_to(damaged))]
    assert account.unverified
    assert not account.different


def test_receipt_of_another_attempt_is_changed(
    accountant: Accountant, damaged: Path, whole: Sealed
) -> None:
    receipt = _receipt(damaged)
    receipt.write_text(json.dumps(json.loads(receipt.read_text()) | {"attempt_id": "later"}))
    account = accountant.close(whole)
    assert account == Account(changed=[str(receipt.relative_to(damaged))])


@pytest.mark.parametrize(
    ("alter", "field"),
    [
        (lambda rows: rows.slice(1), "lost"),
        (lambda rows: pa.concat_tables([rows, rows]), "duplicated"),
    ],
)
def test_pairs_that_are_missing_or_twice_are_named(
    accountant: Accountant,
    damaged: Path,
    whole: Sealed,
    alter: Callable[[pa.Table], pa.Table],
    field: str,
) -> None:
    shard = next(damaged.rglob("train-*.arrow"))
    rows = pa.ipc.open_file(io.BytesIO(shard.read_bytes())).read_all()
    altered = alter(rows)
    with pa.OSFile(str(shard), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(altered)
    account = accountant.close(whole)
    ids = rows["sample_id"].to_pylist()
    assert getattr(account, field) == (ids[:1] if field == "lost" else ids)
    assert account.different == [str(shard.relative_to(damaged))]


def _seen(*units: int, start: float) -> list[Seen]:
    return [Seen(start + index, "node", 1, unit) for index, unit in enumerate(units)]


def test_units_in_flight_and_finished_units_are_told_apart() -> None:
    death = DriverDeath(when=10.0, committed=frozenset({0, 1}))
    uploads = _seen(0, 1, 2, 3, start=0.0) + _seen(2, 4, 1, start=11.0)
    assert recomputed(death, uploads) == Recomputed(in_flight=1, finished=1)
    assert num_again(uploads) == 2
