"""The simulation finds broken protocols, and its cases can be reproduced."""

from collections.abc import Callable
from datetime import datetime

import pytest

from pipeline.core.records import Split
from pipeline.publish.gc import ReferenceStatus, find_unreferenced
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import Commit, Receipt
from pipeline.storage.sealed_files import open_whole, shard_refs
from pipeline.storage.success import read_manifest, read_success
from tests.faults.simulated.campaign import open_simulation
from tests.faults.simulated.cases import Case, FaultLevel, Protocol
from tests.faults.simulated.faulty_store import Call, Fault
from tests.faults.simulated.memory_store import MemoryStore

SEED = 11


def _receipt_first(store: ObjectStore, receipt: Receipt, data: bytes) -> Commit:
    """Put the receipt before the unit object."""
    key = layout.receipt_key(receipt.plan_id, receipt.unit)
    store.put_if_absent(key, receipt.model_dump_json().encode())
    store.put_if_absent(receipt.data_key, data)
    return Commit.MINE


def _last_receipt_wins(store: ObjectStore, receipt: Receipt, data: bytes) -> Commit:
    """Overwrite receipts, as in a store without put-if-absent."""
    store.put_if_absent(receipt.data_key, data)
    key = layout.receipt_key(receipt.plan_id, receipt.unit)
    store.put(key, receipt.model_dump_json().encode())
    return Commit.SAME


def _collect_pending(store: ObjectStore, older_than: datetime) -> None:
    """Delete every unreferenced object after the grace period, although some are pending."""
    for each in [*find_unreferenced(store)]:
        if each.modified < older_than and each.reference is not ReferenceStatus.UNKNOWN:
            store.delete(each.key)


def _puts_unit_object(call: Call) -> bool:
    return call.method == "put_if_absent" and call.key.startswith("units/")


def _puts_receipt(call: Call) -> bool:
    return call.method == "put_if_absent" and call.key.startswith("receipts/")


def _puts_ledger(call: Call) -> bool:
    return call.method == "put_file_if_absent" and call.key.startswith("ledgers/")


@pytest.mark.parametrize(
    ("protocol", "fault", "strikes", "problem"),
    [
        (
            Protocol(commit=_receipt_first),
            Fault.BLACKOUT_BEFORE,
            _puts_unit_object,
            "missing, and",
        ),
        (Protocol(commit=_last_receipt_wins), Fault.REPLY_LOST, _puts_unit_object, "was changed"),
        (Protocol(collect=_collect_pending), Fault.SLOW_BEFORE, _puts_receipt, "missing, and"),
        (
            Protocol(collect=_collect_pending),
            Fault.SLOW_AFTER,
            _puts_unit_object,
            "missing, and",
        ),
        (Protocol(collect=_collect_pending), Fault.SLOW_BEFORE, _puts_ledger, "is missing"),
    ],
)
def test_simulation_finds_a_broken_protocol_reproducibly(
    protocol: Protocol, fault: Fault, strikes: Callable[[Call], bool], problem: str
) -> None:
    calls = open_simulation().calls(FaultLevel.STORE, SEED)
    simulation = open_simulation(protocol)
    found = []
    for at in [at for at, call in enumerate(calls, start=1) if strikes(call)]:
        case = Case(level=FaultLevel.STORE, seed=SEED, fault=fault, at=at)
        failure = simulation.run(case)
        if failure is not None:
            found.append(failure)
            assert simulation.run(case) == failure
            assert f"--seed {SEED} --level store --fault {fault} --call {at}" in str(failure)
    assert any(problem in text for failure in found for text in failure.problems)


def test_undisturbed_store_is_a_complete_data_set() -> None:
    """Every case ends in these bytes, so one check of them covers all cases."""
    store = MemoryStore(open_simulation().undisturbed)
    assert verify(store).problems == []
    success = read_success(store)
    assert success is not None
    manifest = read_manifest(store, success.manifests[0])
    assert manifest.funnel.kept > 0 and manifest.funnel.rejected and manifest.funnel.failed
    for split in Split:
        for shard_format in manifest.shards[split]:
            refs = shard_refs(store, manifest, split, shard_format)
            pairs = [pair for ref in refs for pair in open_whole(ref).pairs()]
            assert len(pairs) == manifest.num_samples(split)


def test_every_kind_of_write_meets_a_fault() -> None:
    for level, method in ((FaultLevel.STORE, "put_"), (FaultLevel.CLIENT, "put_object")):
        calls = open_simulation().calls(level, SEED)
        written = {call.key.partition("/")[0] for call in calls if call.method.startswith(method)}
        assert written >= {
            *("plans", "units", "receipts", "shards", "ledgers", "manifests", "_SUCCESS")
        }
        assert {call.process for call in calls} == {"A", "A1", "A2", "B", "B1", "B2", "gc"}
        deleted = [call.key for call in calls if call.method.startswith("delete")]
        assert any(key.startswith("units/") for key in deleted), "gc deletes garbage"
