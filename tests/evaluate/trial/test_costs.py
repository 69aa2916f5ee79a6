"""Tests of the costs of a trial: spread, warnings, and the break-even against a closed form."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluate.compare import Estimate
from pipeline.evaluate.trial.arm_specs import STANDARD
from pipeline.evaluate.trial.costs import break_even, costs_table, invested, unsteady
from pipeline.evaluate.trial.findings import Trial
from pipeline.evaluate.trial.results import ChunkResult, Results
from pipeline.evaluate.trial.samples import DataSet
from pipeline.stages.build_spec import BuildSpec
from pipeline.training.record import TrainingTime, training_time
from tests.evaluate.trial.conftest import Done
from tests.sealed import Built, manifest_of


def timed(trial: Trial, *, spread: float, chunks: int = 8, load: float | None = 0.5) -> Trial:
    """Return the trial with this spread of all seconds around 1, and this load."""
    costs = [
        cost.model_copy(
            update={
                "seconds": 1.0,
                "seconds_low": 1 - spread / 2,
                "seconds_high": 1 + spread / 2,
            }
        )
        for cost in trial.costs
    ]
    return trial.model_copy(update={"costs": costs, "num_chunks": chunks, "load": load})


@pytest.mark.parametrize(
    ("spread", "chunks", "load", "reason"),
    [
        (0.02, 8, 0.5, None),
        (0.02, 8, None, None),
        (0.3, 8, 0.5, "they vary by 30% between chunks"),
        (0.02, 8, 1.7, "the load was 1.7 processes per CPU core"),
        (0.02, 3, 0.5, "they come from 3 chunks only"),
        (0.3, 8, 1.7, "between chunks (middle half) and the load was"),
    ],
)
def test_seconds_of_a_busy_machine_are_called_uncertain(
    done: Done, spread: float, chunks: int, load: float | None, reason: str | None
) -> None:
    found = unsteady(timed(done.trial, spread=spread, chunks=chunks, load=load))
    assert (found is None) == (reason is None)
    assert reason is None or (found is not None and reason in found)


def test_seconds_have_their_quartiles_where_there_are_enough_chunks(done: Done) -> None:
    def cell(chunks: int) -> str:
        return costs_table(timed(done.trial, spread=0.2, chunks=chunks)).rows[0][2]

    assert cell(4) == "1.000 [0.900, 1.100]" and cell(3) == "1.000"


def test_last_smaller_chunk_is_no_part_of_the_spread(done: Done) -> None:
    run, results = done.run, done.results
    parts = [ChunkResult.from_bytes(file.read_bytes()) for file in run.files]
    # A chunk of another size in place of the last one.
    shorter = [*run.chunks[:-1], run.chunks[-1][:1]]
    found = Results.read(results.specs, results.rewards, shorter, run.files)
    expected = np.nanquantile([part.seconds for part in parts[:-1]], [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_array_equal(found.seconds, expected)
    low, high = found.quartiles(STANDARD)
    assert low <= found.cost(STANDARD).seconds <= high


def test_chunks_of_earlier_versions_have_no_load(done: Done) -> None:
    with np.load(io.BytesIO(done.run.files[0].read_bytes())) as arrays:
        older = {name: arrays[name] for name in arrays if name != "load"}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **older)
    assert np.isnan(ChunkResult.from_bytes(buffer.getvalue()).load)
    assert np.isfinite(done.results.load) and done.trial.load == done.results.load


def data_of(built: Built, folder: Path) -> DataSet:
    manifest = manifest_of(folder)
    return DataSet(url=str(folder), manifests=(manifest,), splits={}, seeds=frozenset())


def test_break_even_includes_training_and_compares_with_what_people_use(
    done: Done, built: Built, sealed_folder: Path
) -> None:
    trial = timed(done.trial, spread=0.0)
    data, time = data_of(built, sealed_folder), TrainingTime(seconds=120, processes=2, device="cpu")
    table = break_even(trial, data, time)
    assert table is not None
    standard, own = (trial.cost(n).forward_evaluations for n in (STANDARD, trial.subject))
    spent = built.plan.num_candidates * BuildSpec.of(built.plan).evaluations()
    # Two processes for 120 s, and an evaluation takes 1 / standard seconds.
    spent += 240 * int(standard)
    named = {row[0] for row in table.rows}
    assert named and all(name.startswith(("best of", "guidance")) for name in named)
    for name, images, evaluations, _ in table.rows:
        saved = trial.cost(name).forward_evaluations - own
        assert evaluations == f"{saved + own:.4g}"
        gain = next(d.gain.gain for d in trial.alternatives(trial.subject) if d.against == name)
        if gain.high < 0:
            assert images == "no replacement: it is better"
        else:
            assert images == (f"{spent / saved:,.0f}" if saved > 0 else "never: it costs no more")
    assert "took 120 s on 2 × cpu" in " ".join(invested(trial, data, time))


def test_method_that_is_better_is_not_replaced(
    done: Done, built: Built, sealed_folder: Path
) -> None:
    worse = Estimate(-0.2, -0.3, -0.1)
    duels = [
        duel.model_copy(update={"gain": replace(duel.gain, gain=worse)})
        for duel in done.trial.duels
    ]
    trial = done.trial.model_copy(update={"duels": duels})
    table = break_even(trial, data_of(built, sealed_folder), None)
    assert table is not None
    assert {row[1] for row in table.rows} == {"no replacement: it is better"}
    sentences = " ".join(invested(trial, data_of(built, sealed_folder), None))
    assert "is not recorded beside the network, so it is not included" in sentences


def test_training_time_is_that_of_the_same_network(tmp_path: Path) -> None:
    def write(**summary: object) -> None:
        (tmp_path / "training.json").write_text(json.dumps(summary), "utf-8")

    assert training_time(tmp_path, "a") is None
    write(seconds=3.5, processes=2, device="cuda", network="a")
    assert training_time(tmp_path, "a") == TrainingTime(seconds=3.5, processes=2, device="cuda")
    assert training_time(tmp_path, "b") is None, "the summary of another network"
    write(seconds="soon", processes=2, device="cuda")
    assert training_time(tmp_path, "a") is None
