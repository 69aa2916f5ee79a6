"""Reading of complete epochs by all ranks."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow.parquet as pq
from torch.utils.data import DataLoader

from pipeline.reader import NoisePairDataset


def ids_of(given: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the ``sample_id`` of each sample, or of each pair of each batch."""
    for each in given:
        ids = each["sample_id"]
        yield from [ids] if isinstance(ids, str) else ids


def read_all(url: str, world_size: int, workers: int, **options: Any) -> list[list[str]]:
    """Return the ids that each rank reads in an epoch."""
    ranks = []
    for rank in range(world_size):
        pairs = NoisePairDataset(url, rank=rank, world_size=world_size, **options)
        ranks.append([*ids_of(DataLoader(pairs, batch_size=None, num_workers=workers))])
    return ranks


def ledger_of(folder: Any) -> list[dict[str, Any]]:
    """Return the kept rows of the only ledger in a store, read by pyarrow."""
    (path,) = folder.glob("ledgers/*/*.parquet")
    return [row for row in pq.read_table(path).to_pylist() if row["status"] == "kept"]
