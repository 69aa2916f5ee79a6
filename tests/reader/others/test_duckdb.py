"""SQL queries of the ledger, compared with pyarrow and numpy."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.reader.others.ours import ledger_path, our_samples, shard_paths

GAINS = """
    select prompt, avg(golden_rewards.scene - source_rewards.scene) as gain, count(*) as seeds
    from '{ledger}' group by prompt order by gain desc, prompt limit 5
"""
KEPT_RATES = """
    select split, avg((status = 'kept')::int) as kept_rate, count(*) as candidates
    from '{ledger}' group by split order by split
"""


def _rows(query: str) -> list[Any]:
    """Return the rows of a query."""
    relation = duckdb.sql(query)
    assert relation is not None, "a select returns rows"
    return relation.fetchall()


def test_duckdb_finds_the_prompts_that_gain_most(sealed_folder: Path) -> None:
    path = ledger_path(sealed_folder)
    found = _rows(GAINS.format(ledger=path))
    gains = defaultdict(list)
    for row in pq.read_table(path).to_pylist():
        golden, source = row["golden_rewards"]["scene"], row["source_rewards"]["scene"]
        gains[row["prompt"]].append(float(np.float32(golden) - np.float32(source)))
    means = {prompt: float(np.mean(values)) for prompt, values in gains.items()}
    wanted = sorted(means, key=lambda prompt: (-means[prompt], prompt))[:5]
    assert [prompt for prompt, _, _ in found] == wanted
    assert [gain for _, gain, _ in found] == pytest.approx([means[prompt] for prompt in wanted])
    assert [seeds for _, _, seeds in found] == [2] * 5


def test_duckdb_counts_the_kept_candidates_of_a_split(sealed_folder: Path) -> None:
    path = ledger_path(sealed_folder)
    found = _rows(KEPT_RATES.format(ledger=path))
    ledger = pq.read_table(path)
    kept = np.array(ledger["status"].to_pylist()) == "kept"
    splits = np.array(ledger["split"].to_pylist())
    wanted = [(s, kept[splits == s].mean(), (splits == s).sum()) for s in np.unique(splits)]
    assert found == wanted
    rate, candidates = next((rate, count) for split, rate, count in found if split == "train")
    assert round(rate * candidates) == len(our_samples(sealed_folder))


def test_duckdb_joins_the_ledger_with_the_columns_of_arrow_shards(sealed_folder: Path) -> None:
    """DuckDB does not support lists of float16, so these columns are left out by name."""
    shards = ds.dataset(shard_paths(sealed_folder, "arrow"), format="arrow")
    duckdb.register("pairs", shards.to_table(columns=["sample_id", "seed"]))
    found = _rows(
        f"select pairs.sample_id, pairs.seed from pairs join '{ledger_path(sealed_folder)}' ledger "
        "on ledger.sample_id = pairs.sample_id and ledger.seed = pairs.seed"
    )
    ours = our_samples(sealed_folder)
    assert sorted(found) == sorted((name, sample["seed"]) for name, sample in ours.items())
    with pytest.raises(duckdb.NotImplementedException, match="Unsupported Internal Arrow Type"):
        duckdb.from_arrow(shards)
