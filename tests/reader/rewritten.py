"""The small sealed data set with changed pairs."""

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from pipeline.publish.compact import compact
from pipeline.publish.seal import seal
from pipeline.storage.formats.arrow_shard import pack_pairs
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from pipeline.storage.open import open_store
from tests.sealed import Built


def rewritten(
    built: Built,
    url: str,
    change: Callable[[NoisePair], NoisePair],
    *,
    formats: tuple[str, ...] = ("arrow",),
    shard_bytes: int = 12_000,
) -> None:
    """Seal the data set again, with changed pairs and other output settings."""
    units = []
    for unit in built.units:
        table = pa.ipc.open_file(pa.BufferReader(unit.data)).read_all()
        schema = PairSchema.of(table.schema)
        pairs = [change(p) for batch in table.to_batches() for p in schema.to_pairs(batch)]
        units.append(replace(unit, data=pack_pairs(pairs, schema, 2)))
    store = open_store(url)
    replace(built, units=tuple(units)).commit(store)
    changes = {"formats": formats, "shard_bytes": shard_bytes}
    output = built.plan.settings.output.model_copy(update=changes)
    settings = built.plan.settings.model_copy(update={"output": output})
    plan = built.plan.model_copy(update={"settings": settings})
    seal(store, plan, built.prompts, lambda tasks: map(compact, tasks))
