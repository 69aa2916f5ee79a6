"""The search finds planted secrets in every encoding."""

import base64
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.storage.local import LocalStore
from tests.secrets.canaries import Canaries, canary


def _arrow(text: str) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"a": [1, 2]}, metadata={"note": text})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _parquet(text: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"host": ["x" * 1000, f"at {text}!"]}), sink, compression="zstd")
    return sink.getvalue()


def _tar(text: str) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        member = tarfile.TarInfo("a.json")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return sink.getvalue()


CARRIERS: dict[str, Callable[[str], bytes]] = {
    "log": lambda secret: f"connecting with {secret}.\n".encode(),
    "json": lambda secret: json.dumps({"env": {"KEY": secret}}).encode(),
    "url": lambda secret: f"http://u:{quote(secret, safe='')}@host/?a=b".encode(),
    "basic authorisation": lambda secret: base64.b64encode(f"user:{secret}".encode()),
    "base64": lambda secret: base64.b64encode(f"somebody:{secret} ".encode()),
    "tar": _tar,
    "arrow": _arrow,
    "parquet": _parquet,
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_planted_secret_is_found_in_every_carrier(carrier: str, tmp_path: Path) -> None:
    planted, other = canary("planted"), canary("other")
    canaries = Canaries({"planted": planted, "other": other})
    data = CARRIERS[carrier](planted)
    assert canaries.in_bytes(data) == ["planted"]
    assert canaries.in_bytes(CARRIERS[carrier]("nothing")) == []
    store = LocalStore(tmp_path)
    store.put("receipts/p/1.json", data)
    store.put("receipts/p/2.json", b"{}")
    assert canaries.in_store(store) == ["receipts/p/1.json: planted"]
    assert canaries.in_folder(tmp_path) == [f"{tmp_path}/receipts/p/1.json: planted"]
