"""Units and receipts that somebody forged consistently are rejected wherever units are read."""

import io
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.errors import VerificationError
from pipeline.publish.compact import compact_in
from pipeline.publish.select import select
from pipeline.publish.verify import verify
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from tests.fuzz.forge import edit_json, forge

Forgery = Callable[[bytes], bytes]


def _rewritten(data: bytes, change: Callable[[pa.Table], pa.Table], **options: Any) -> bytes:
    table = change(pa.ipc.open_file(data).read_all())
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _with_null_noises(table: pa.Table) -> pa.Table:
    index = table.schema.get_field_index("golden_noise")
    field = table.schema.field(index)
    return table.set_column(index, field, pa.nulls(len(table), field.type))


def _with_offsets_outside(data: bytes) -> bytes:
    """Texts whose offsets point far behind their values: reading one ends the process."""
    batch = pa.ipc.open_file(data).get_batch(0)
    offsets = batch["sample_id"].buffers()[1].to_pybytes()[: 4 * (len(batch) + 1)]
    at = data.index(offsets)
    wrong = struct.pack(f"<{len(batch)}i", *range(2**30, 2**30 + len(batch)))
    return data[: at + 4] + wrong + data[at + 4 + len(wrong) :]


def _select(store: ObjectStore) -> None:
    select(store, {"scene": 0.01}, partial(map, partial(compact_in, store)))


FORGERIES: dict[str, Forgery] = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "no Arrow file": lambda data: b"x" * 100,
    "offsets outside": _with_offsets_outside,
    "null noises": lambda data: _rewritten(data, _with_null_noises),
    "no column": lambda data: _rewritten(data, lambda table: table.drop_columns(["seed"])),
    "fewer rows": lambda data: _rewritten(data, lambda table: table.slice(0, 0)),
    "compressed": lambda data: _rewritten(data, lambda table: table, compression="zstd"),
    "no metadata": lambda data: _rewritten(
        data, lambda table: table.replace_schema_metadata({"latent_shape": "[" * 100_000})
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
def test_forged_unit_is_a_finding_and_is_not_selected_from(damaged: Path, forgery: Forgery) -> None:
    path = sorted(damaged.glob("units/*/*.arrow"))[0]
    key = str(forge(damaged, path, forgery(path.read_bytes())).relative_to(damaged))
    store = open_store(str(damaged))
    assert key in {problem.key for problem in verify(store).problems}
    with pytest.raises(VerificationError, match=key):
        _select(store)


@pytest.mark.parametrize(
    "edit",
    [
        lambda receipt: receipt["outcomes"].pop(),
        lambda receipt: receipt["outcomes"].append(receipt["outcomes"][-1]),
        lambda receipt: receipt["outcomes"][0].update(sample_id="another"),
        lambda receipt: receipt["outcomes"].reverse(),
        lambda receipt: receipt.update(latent_shape=[1, 2, 3]),
        lambda receipt: receipt["outcomes"][0].update(status="kept", reason="gate:std"),
        lambda receipt: receipt["outcomes"][0].update(status="kept", reason=None, num_bytes=0),
    ],
    ids=[
        *("one less", "one twice", "another id", "another order", "another shape"),
        *("kept with a reason", "kept and not stored"),
    ],
)
def test_forged_receipt_is_not_selected_from(
    damaged: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    edit_json(sorted(damaged.glob("receipts/*/*.json"))[1], edit)
    with pytest.raises(VerificationError, match=r"unit 1|00000001.json: no receipt"):
        _select(open_store(str(damaged)))
