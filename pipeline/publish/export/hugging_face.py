"""Folder layout of the Hugging Face hub, for upload or local loading.

data/train-00000-of-00010.parquet …    pairs; stored images have the hub's ``Image`` feature
candidates.parquet                     ledger: all candidates, kept or not, with all scores
README.md                              data set card
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.publish.export.card import CANDIDATES, DATA, card
from pipeline.publish.export.format import Format, SplitPart
from pipeline.publish.export.shard_files import record_batches, write_parquet
from pipeline.storage.formats.pairs import IMAGES
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.sealed_files import ledger_bytes

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class HuggingFace(Format):
    """Writer for ``--format hf``."""

    has_card = True

    def write_part(self, folder: Path, part: SplitPart) -> None:
        """Write one Parquet file."""
        (folder / DATA).mkdir()
        batches = map(_with_pictures, record_batches(part, self.spec.schema))
        first = next(batches)
        schema = _with_features(first.schema)
        path = folder / DATA / f"{part.name}.parquet"
        write_parquet(path, schema, _as(schema, first, batches))

    def finish(self, folder: Path, store: ObjectStore) -> None:
        """Write the ledger and the card."""
        (folder / CANDIDATES).write_bytes(ledger_bytes(store, self.spec.manifest))
        (folder / "README.md").write_text(card(self.spec), encoding="utf-8")

    def remarks(self) -> list[str]:
        """Return a note on licences that were not given."""
        unknown = [
            name
            for name, licence in self.spec.licences.model_dump().items()
            if licence == "unknown"
        ]
        if not unknown:
            return []
        return [f"the card lists the licence of {', '.join(unknown)} as unknown"]


def _with_pictures(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert image columns to the hub's ``Image`` type; drop those without images."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    for name in IMAGES:
        column = columns[name]
        # A data set stores images of all pairs or of none.
        if column.null_count == len(column):
            del columns[name]
        else:
            paths = pa.nulls(len(column), pa.string())
            columns[name] = pa.StructArray.from_arrays([column, paths], fields=list(_PICTURE))
    return pa.RecordBatch.from_pydict(columns).replace_schema_metadata(batch.schema.metadata)


def _with_features(schema: pa.Schema) -> pa.Schema:
    """Add the metadata by which ``datasets`` recognizes the feature type of each column."""
    # Without this metadata, ``datasets`` would load a picture as a struct of bytes and path.
    features = {field.name: _feature(field.type) for field in schema}
    info = json.dumps({"info": {"features": features}})
    return schema.with_metadata({**(schema.metadata or {}), "huggingface": info})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == _PICTURE:
        return {"_type": "Image"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "List"}
    names = {pa.float16(): "float16", pa.float32(): "float32"}
    return {"dtype": names.get(kind, str(kind)), "_type": "Value"}


def _as(
    schema: pa.Schema, first: pa.RecordBatch, others: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    yield first.cast(schema)
    for batch in others:
        yield batch.cast(schema)
