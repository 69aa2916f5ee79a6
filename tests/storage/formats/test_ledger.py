"""The ledger: every candidate with all its scores."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.core.records import Outcome, Split, Status
from pipeline.storage.formats import ledger as ledger_module
from pipeline.storage.formats.ledger import (
    Ledger,
    LedgerInfo,
    LedgerWriter,
    ledger_schema,
)
from pipeline.storage.open import open_store
from pipeline.storage.sealed_files import read_ledger
from tests.sealed import Built, manifest_of


def _outcomes(built: Built) -> list[Outcome]:
    return [outcome for unit in built.units for outcome in unit.outcomes]


def test_ledger_rows_are_all_outcomes_in_order(sealed_folder: Path, built: Built) -> None:
    info = manifest_of(sealed_folder).ledger
    rows = pq.read_table(sealed_folder / info.key).to_pylist()
    candidates = list(built.prompts.candidates(built.plan, range(built.plan.num_candidates)))
    assert len(rows) == info.num_rows == built.plan.num_candidates
    for row, outcome, candidate in zip(rows, _outcomes(built), candidates, strict=True):
        assert row == {
            **outcome.model_dump(mode="json", exclude={"num_bytes"}),
            "prompt": candidate.prompt,
        }
    assert {row["status"] for row in rows} == {"kept", "rejected"}


def test_ledger_columns_are_plain_types(sealed_folder: Path) -> None:
    info = manifest_of(sealed_folder).ledger
    schema = pq.read_schema(sealed_folder / info.key)
    assert schema.equals(ledger_schema(["scene", "oracle"]))


def test_ledger_candidate_without_scores_and_statistics_is_null(
    built: Built, tmp_path: Path
) -> None:
    nothing = {"scene": None, "oracle": None}
    outcome = _outcomes(built)[0].model_copy(
        update={"source_rewards": nothing, "golden_rewards": nothing, "noise_stats": None}
    )
    with LedgerWriter(tmp_path / "ledger", ["scene", "oracle"]) as writer:
        writer.add([outcome], ["a prompt"])
    (row,) = pq.read_table(tmp_path / "ledger").to_pylist()
    assert row["noise_stats"] is None and row["source_rewards"] == nothing


def test_ledger_bytes_do_not_depend_on_how_outcomes_come(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = _outcomes(built)
    for name, size in (("one", 1), ("all", len(outcomes))):
        with LedgerWriter(tmp_path / name, ["scene", "oracle"]) as writer:
            for start in range(0, len(outcomes), size):
                part = outcomes[start : start + size]
                writer.add(part, ["p"] * len(part))
        assert writer.num_rows == len(outcomes)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "all").read_bytes()
    monkeypatch.setattr(ledger_module, "_ROWS_PER_TABLE", 7)
    with LedgerWriter(tmp_path / "tables", ["scene", "oracle"]) as writer:
        for outcome in outcomes:
            writer.add([outcome], ["p"])
    assert (tmp_path / "tables").read_bytes() == (tmp_path / "all").read_bytes()
    monkeypatch.setattr(ledger_module, "_ROWS_PER_GROUP", 10)
    with LedgerWriter(tmp_path / "groups", ["scene", "oracle"]) as writer:
        for outcome in outcomes:
            writer.add([outcome], ["p"])
    groups = pq.ParquetFile(tmp_path / "groups")
    assert groups.metadata.num_row_groups == -(-len(outcomes) // 10)
    assert groups.read().equals(pq.read_table(tmp_path / "all"))


def test_ledger_prompts_and_outcomes_of_two_lengths_are_refused(
    built: Built, tmp_path: Path
) -> None:
    with (
        pytest.raises(ValueError),
        LedgerWriter(tmp_path / "ledger", ["scene", "oracle"]) as writer,
    ):
        writer.add(_outcomes(built)[:2], ["p"])


def test_ledger_is_readable_from_the_store(sealed_folder: Path) -> None:
    info = manifest_of(sealed_folder).ledger
    head = open_store(str(sealed_folder)).head(info.key)
    assert head is not None and head.num_bytes == info.num_bytes


def test_ledger_columns_read_back_are_those_of_the_outcomes(
    sealed_folder: Path, built: Built
) -> None:
    ledger = read_ledger(open_store(str(sealed_folder)), manifest_of(sealed_folder))
    outcomes = _outcomes(built)
    candidates = list(built.prompts.candidates(built.plan, range(built.plan.num_candidates)))
    assert ledger.num_rows == len(outcomes)
    assert ledger.sample_ids() == [outcome.sample_id for outcome in outcomes]
    assert ledger.prompt_ids() == [outcome.prompt_id for outcome in outcomes]
    assert ledger.seeds() == [outcome.seed for outcome in outcomes]
    assert ledger.splits() == [outcome.split for outcome in outcomes]
    assert ledger.proposals() == [outcome.proposal for outcome in outcomes]
    evaluations = ledger.forward_evaluations()
    assert evaluations is not None
    assert evaluations.tolist() == [outcome.forward_evaluations for outcome in outcomes]
    kept = [outcome.status is Status.KEPT for outcome in outcomes]
    assert ledger.kept().tolist() == kept
    in_test = [k and outcome.split is Split.TEST for k, outcome in zip(kept, outcomes, strict=True)]
    assert ledger.in_shards(Split.TEST).tolist() == in_test
    for name, scores in ledger.golden_rewards().items():
        given = [outcome.golden_rewards[name] for outcome in outcomes]
        assert np.array_equal(scores, np.array(given, np.float32), equal_nan=True)
    cosines = [outcome.noise_stats and outcome.noise_stats.cosine for outcome in outcomes]
    assert np.array_equal(ledger.noise_stats()["cosine"], np.array(cosines, float), equal_nan=True)
    match = ledger.prompts_match("blue")
    assert match.tolist() == ["blue" in candidate.prompt for candidate in candidates]
    assert 0 < match.sum() < len(match)
    assert ledger.prompt_table(built.plan.seeds_per_prompt).is_of(built.plan)


def test_ledger_without_candidates_has_empty_columns(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path / "ledger", ["scene"]):
        pass
    ledger = _opened(tmp_path / "ledger", ["scene"], 0)
    assert (
        ledger.num_rows == len(ledger.in_shards(Split.TRAIN)) == len(ledger.prompts_match("a")) == 0
    )
    assert ledger.golden_rewards()["scene"].shape == (0,)


def test_ledger_missing_numbers_are_nan_in_its_columns(built: Built, tmp_path: Path) -> None:
    nothing = {"scene": None, "oracle": 1.5}
    outcome = _outcomes(built)[0].model_copy(
        update={"source_rewards": nothing, "noise_stats": None}
    )
    with LedgerWriter(tmp_path / "ledger", ["scene", "oracle"]) as writer:
        writer.add([outcome], ["a prompt"])
    ledger = _opened(tmp_path / "ledger", ["scene", "oracle"], 1)
    source = ledger.source_rewards()
    assert np.isnan(source["scene"][0]) and source["oracle"][0] == 1.5
    assert np.isnan(ledger.noise_stats()["std"][0])


def _opened(path: Path, rewards: list[str], num_rows: int) -> Ledger:
    data = path.read_bytes()
    info = LedgerInfo(key="ledger", sha256="", num_rows=num_rows, num_bytes=len(data))
    return Ledger(data, info, ledger_schema(rewards), "ledger")
