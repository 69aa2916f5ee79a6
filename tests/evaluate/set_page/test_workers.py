"""Tests of the workers and stages of a page, from the sums that builds write."""

import json
from pathlib import Path

from pipeline.evaluate.set_page.run_record import RunRecord, receipts_of
from pipeline.evaluate.set_page.workers import work_of
from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.storage.worker_sums import RunSums, WorkerSums, put_run_sums, read_worker_sums
from tests.sealed import Built

RUNS = ("0a" * 16, "0b" * 16)


def sums(worker: str, kept: int, candidates: int = 100) -> WorkerSums:
    return WorkerSums(
        worker=worker,
        host="node-1",
        device="H200",
        units=candidates // 10,
        candidates=candidates,
        judged=candidates,
        kept=kept,
        compute_seconds=50.0,
        stage_seconds={"sample": 30.0, "judge": 10.0, "upload": 5.0},
    )


def record_of(built: Built, folder: Path) -> RunRecord:
    store, record = open_store(str(folder)), RunRecord(plan=built.plan)
    for receipt in receipts_of(store, built.plan, range(built.plan.num_units)):
        record.add(receipt)
    return record


def test_stages_have_their_seconds_throughput_and_share(built: Built, sealed_folder: Path) -> None:
    work = work_of([sums("a", 60), sums("b", 70)], record_of(built, sealed_folder))
    assert work.stages_table is not None
    assert work.stages_table.rows == [
        ["sample", "60.0", "0.3", "3.33", "75.0%"],
        ["judge", "20.0", "0.1", "10", "25.0%"],
        ["upload", "10.0", "0.05", "20", ""],
    ]
    assert work.stages is not None
    assert [row.label for row in work.stages.rows] == [
        "0.3 s, 3.33/s",
        "0.1 s, 10/s",
        "0.05 s, 20/s",
    ]


def test_worker_that_differs_is_shown_before_larger_ones(built: Built, sealed_folder: Path) -> None:
    record = record_of(built, sealed_folder)
    kept = round(1000 * record.funnel.kept_rate)
    usual = [sums(f"usual{index}", kept, 1000) for index in range(30)]
    work = work_of([*usual, sums("broken", 1, 50)], record)
    assert work.workers is not None and work.workers_table is not None
    assert work.workers.rows[0].name == work.workers_table.rows[0][0] == "broken on node-1"
    assert work.workers.rows[0].colour == "bad" and len(work.workers.rows) == 20
    assert "20 of 31 workers are shown" in work.sentences[-1]


def test_sums_of_several_runs_are_read_and_damaged_ones_left_out(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for build_id, worker in zip(RUNS, ("a", "b"), strict=True):
        put_run_sums(store, RunSums(plan_id="p", build_id=build_id, workers=(sums(worker, 1),)))
    for name, content in (
        ("cut.json", b'{"plan_id": "p", "bui'),
        # A copy under another name would count twice.
        ("copy.json", store.get(layout.run_sums_key("p", RUNS[0]))),
        (f"{'0c' * 16}.json", b"\x00" * 500_000),
    ):
        store.put(f"{layout.run_sums_prefix('p')}{name}", content)
    found = json.loads(store.get(layout.run_sums_key("p", RUNS[1])))
    found["workers"][0] |= {"units": -1}
    store.put(layout.run_sums_key("p", RUNS[1]), json.dumps(found).encode())
    assert [each.worker for each in read_worker_sums(store, "p")] == ["a"]


def test_page_without_sums_reports_it(built: Built, sealed_folder: Path) -> None:
    work = work_of([], record_of(built, sealed_folder))
    assert work.workers is None and work.stages is None
    assert "No sums of workers" in work.sentences[0]
