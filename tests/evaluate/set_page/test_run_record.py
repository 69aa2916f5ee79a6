"""Tests of what a page reads from receipts: times, machines, failures, costs and scores."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import VerificationError
from pipeline.core.records import Outcome, Status
from pipeline.evaluate.scores import read_scores
from pipeline.evaluate.set_page.costs import cost_sentences
from pipeline.evaluate.set_page.progress import moment, progress_of
from pipeline.evaluate.set_page.provenance import failures_table
from pipeline.evaluate.set_page.run_record import RunRecord, ScoreCollector, receipts_of
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import commit_unit
from tests.sealed import Built, manifest_of, receipt_of


def commit(built: Built, folder: Path, runs: Sequence[dict[str, object]]) -> ObjectStore:
    """Write one unit for each of ``runs``, with these fields in its receipt."""
    store = open_store(str(folder))
    write_plan(store, built.plan, built.prompts, built.dropped)
    for unit, run in enumerate(runs):
        produced = built.units[unit]
        commit_unit(store, receipt_of(built.plan, unit, produced, **run), produced.data)
    return store


def record_of(built: Built, store: ObjectStore) -> RunRecord:
    record = RunRecord(plan=built.plan)
    for receipt in receipts_of(store, built.plan, range(built.plan.num_units)):
        record.add(receipt)
    return record


def test_times_and_machines_are_those_of_the_receipts(built: Built, tmp_path: Path) -> None:
    runs: list[dict[str, object]] = [
        {"host": "a", "started": "2026-01-01T00:00:00+00:00", "compute_seconds": 60.0},
        {"host": "a", "started": "2026-01-01T01:00:00+01:00", "compute_seconds": 30.0},
        {"host": "b", "started": "2026-01-01T00:01:00", "compute_seconds": 60.0},
    ]
    record = record_of(built, commit(built, tmp_path, runs))
    starts = [unit.started for unit in record.units]
    assert starts[0] == starts[1] == 1767225600.0 and starts[2] == 1767225660.0
    progress = progress_of(record)
    assert progress.table is not None and progress.timeline is not None
    kept = [sum(outcome.status is Status.KEPT for outcome in unit.outcomes) for unit in built.units]
    assert progress.table.rows == [
        ["a", record.units[0].device, "2", "20", f"{(kept[0] + kept[1]) / 20:.1%}", "4.5"],
        ["b", record.units[0].device, "1", "10", f"{kept[2] / 10:.1%}", "6"],
    ]
    # Two bins of a minute: the units of a end in the first half, that of b at the end.
    assert [each.title.split(" candidates")[0] for each in progress.timeline.kept.intervals] == [
        f"{kept[1]:,} of 10" if index == 0 else f"{kept[0] + kept[2]:,} of 20" for index in range(2)
    ]
    missing = f"Without a receipt in the store: 2 of {built.plan.num_units} units"
    assert missing in " ".join(progress.sentences)
    costs = " ".join(cost_sentences(record, record.funnel, 3.6))
    assert "150 CPU-seconds (2.5 minutes)" in costs and "costs 0.15" in costs


@pytest.mark.parametrize("started", ["then", "", "0001-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_times_that_no_build_has_are_not_drawn(built: Built, tmp_path: Path, started: str) -> None:
    runs: list[dict[str, object]] = [{"started": started}, {"started": "2026-01-01T00:00:00"}]
    record = record_of(built, commit(built, tmp_path, runs))
    assert progress_of(record).timeline is None
    assert progress_of(record).machines is not None


def test_moment_of_no_calendar_is_unknown() -> None:
    assert moment(0.0) == "1970-01-01 00:00 UTC"
    assert moment(1e300) is None


def test_failures_are_counted_with_the_last_line_of_an_error(built: Built, tmp_path: Path) -> None:
    failed = [
        outcome.model_copy(update={"status": Status.FAILED, "reason": "error:X", "num_bytes": 0})
        for outcome in built.units[0].outcomes
    ]
    broken = replace(built, units=(replace(built.units[0], outcomes=tuple(failed)),))
    runs: list[dict[str, object]] = [{"errors": {3: "Traceback\n  line\nX: out of luck\n"}}]
    table = failures_table(record_of(built, commit(broken, tmp_path, runs)))
    assert table is not None and table.rows == [["error:X", "10", "X: out of luck"]]


def test_receipt_with_other_candidates_is_refused(built: Built, tmp_path: Path) -> None:
    store = commit(built, tmp_path, [{}])
    key = layout.receipt_key(built.plan.plan_id, 0)
    store.put(key, store.get(key).replace(b'"candidate":3', b'"candidate":4'))
    with pytest.raises(VerificationError, match="its candidates are not those of the unit"):
        record_of(built, store)


def test_scores_of_receipts_are_those_of_the_ledger(built: Built, sealed_folder: Path) -> None:
    store = open_store(str(sealed_folder))
    collector = ScoreCollector(built.plan, built.prompts)
    for receipt in receipts_of(store, built.plan, [0, 2]):
        collector.add(receipt.outcomes)
    done = np.zeros(built.plan.num_candidates, bool)
    done[[*built.plan.unit_range(0), *built.plan.unit_range(2)]] = True
    found, expected = collector.table(), read_scores(store, manifest_of(sealed_folder))
    assert found.prompt_ids.tolist() == expected.prompt_ids.tolist()
    assert found.splits.tolist() == expected.splits.tolist()
    assert found.kept.tolist() == (expected.kept & done).tolist()
    assert found.judged().tolist() == done.tolist()
    for name in expected.source:
        np.testing.assert_array_equal(found.golden[name][done], expected.golden[name][done])
        np.testing.assert_array_equal(found.source[name][done], expected.source[name][done])
    np.testing.assert_allclose(found.std[done], expected.std[done], rtol=1e-6)


def test_scores_beyond_the_ledger_are_missing(built: Built) -> None:
    collector = ScoreCollector(built.plan, built.prompts)
    first: Outcome = built.units[0].outcomes[0]
    collector.add([first.model_copy(update={"golden_rewards": {"scene": 1e300, "oracle": None}})])
    table = collector.table()
    assert np.isnan(table.golden["scene"][0]) and np.isfinite(table.source["scene"][0])
    assert not table.judged().any()
