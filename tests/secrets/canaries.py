"""Unique secrets, and the search for them in texts, files and stores."""

import base64
import io
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.object_store import ObjectStore

PARQUET_MAGIC = b"PAR1"


def canary(name: str) -> str:
    """Return a unique secret, with a slash and a plus as in the keys of AWS."""
    return f"{name}/{secrets.token_hex(8)}+{secrets.token_hex(8)}"


class Canaries:
    """Secrets by name, with a search for every common encoding."""

    def __init__(self, values: Mapping[str, str]) -> None:
        assert all(len(value) >= 16 for value in values.values()), "too short to be unique"
        self._forms = {name: tuple(_forms(value)) for name, value in values.items()}

    def in_text(self, text: str) -> list[str]:
        """Return the names of the secrets in a text."""
        return self.in_bytes(text.encode())

    def in_bytes(self, data: bytes) -> list[str]:
        """Return the names of the secrets in bytes, also in compressed Parquet data."""
        if data[:4] == PARQUET_MAGIC:
            data += _uncompressed(data)
        return [name for name, forms in self._forms.items() if any(form in data for form in forms)]

    def in_store(self, store: ObjectStore) -> list[str]:
        """Return ``<key>: <name>`` for each secret in each object or its key."""
        return [
            f"{info.key}: {name}"
            for info in store.list("")
            for name in self.in_bytes(store.get(info.key)) + self.in_text(info.key)
        ]

    def in_folder(self, folder: Path, *, but: tuple[Path, ...] = ()) -> list[str]:
        """Return ``<path>: <name>`` for each secret in each file except ``but``."""
        return [
            f"{path}: {name}"
            for path in folder.rglob("*")
            if path.is_file() and path not in but
            for name in self.in_bytes(path.read_bytes())
        ]


def _forms(value: str) -> Iterator[bytes]:
    yield value.encode()
    yield quote(value, safe="").encode()
    # In longer base64, such as that of ``user:password``, a secret begins at one of three offsets.
    # The characters at both ends depend on the neighbours, so they are cut off.
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value.encode())
        yield encoded[4 if offset else 0 : -4]


def _uncompressed(data: bytes) -> bytes:
    table = pq.read_table(io.BytesIO(data))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
