"""Users of a ledger or prompt table reject one that was changed but is still readable."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import VerificationError
from pipeline.evaluate.scores import read_scores
from pipeline.evaluate.trial.samples import read_data_set
from pipeline.storage import layout
from pipeline.storage.open import open_store
from tests.publish.export.exports import export_to
from tests.sealed import Built, manifest_of

_USES = pytest.mark.parametrize(
    "use",
    [
        lambda folder: read_scores(open_store(str(folder)), manifest_of(folder)),
        lambda folder: read_data_set(open_store(str(folder))),
        lambda folder: export_to(folder.parent / "export", folder, "hf"),
    ],
    ids=["report", "trial", "export"],
)


def _replace(path: Path, column: str, values: list[object]) -> None:
    table = pq.read_table(path)
    index = table.schema.get_field_index(column)
    made = pa.array(values, table.schema.field(index).type)
    pq.write_table(table.set_column(index, table.schema.field(index), made), path)


@_USES
def test_ledger_with_another_seed_is_refused(damaged: Path, use: Callable[[Path], object]) -> None:
    ledger = manifest_of(damaged).ledger
    seeds = pq.read_table(damaged / ledger.key)["seed"].to_pylist()
    _replace(damaged / ledger.key, "seed", [seeds[0] + 1, *seeds[1:]])
    with pytest.raises(VerificationError, match=f"{ledger.key}: not the bytes .*npd repair"):
        use(damaged)


@_USES
def test_ledger_missing_is_refused(damaged: Path, use: Callable[[Path], object]) -> None:
    ledger = manifest_of(damaged).ledger
    (damaged / ledger.key).unlink()
    with pytest.raises(VerificationError, match=f"{ledger.key}: missing.*npd repair"):
        use(damaged)


def test_prompts_of_another_split_are_refused_by_a_trial(damaged: Path, built: Built) -> None:
    key = layout.prompts_key(built.plan.plan_id)
    splits = pq.read_table(damaged / key)["split"].to_pylist()
    _replace(damaged / key, "split", ["test"] * len(splits))
    with pytest.raises(VerificationError, match=f"{key}: not the prompts of the plan.*npd repair"):
        read_data_set(open_store(str(damaged)))
