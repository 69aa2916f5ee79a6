"""Replace an object of a store and update every name and digest that refers to it.

Without this, a change of one byte is found by its digest, and no later check is reached. A forged
set is what somebody can publish on purpose.
"""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.storage.formats.checked_bytes import pieces_of

Json = dict[str, Any]


def forge(store: Path, path: Path, data: bytes) -> Path:
    """Replace the object at ``path`` by ``data`` in a consistent way; return its new path."""
    kind = path.relative_to(store).parts[0]
    if kind == "units":
        return _forge_unit(store, path, data)
    if kind in ("shards", "ledgers"):
        return _forge_named_by_manifest(store, path, data)
    path.write_bytes(data)
    if kind == "manifests":
        _name_manifest(store, path)
    return path


def _renamed(path: Path, data: bytes) -> Path:
    """Return the path under which content-addressed ``data`` is stored beside ``path``."""
    start, _, _ = path.stem.rpartition("-")
    return path.with_name(f"{start}-{_digest(data)[:16]}{path.suffix}")


def _forge_unit(store: Path, path: Path, data: bytes) -> Path:
    target = _renamed(path, data)
    path.unlink()
    target.write_bytes(data)
    receipt = store / "receipts" / path.parent.name / f"{path.stem.partition('-')[0]}.json"

    def edit(content: Json) -> None:
        content["data_key"] = str(target.relative_to(store))
        content["data_sha256"] = _digest(data)
        content["data_bytes"] = len(data)

    edit_json(receipt, edit)
    return target


def _forge_named_by_manifest(store: Path, path: Path, data: bytes) -> Path:
    target = _renamed(path, data)
    path.unlink()
    target.write_bytes(data)
    (manifest,) = store.glob("manifests/*/v1.json")
    old, new = str(path.relative_to(store)), str(target.relative_to(store))

    def edit(content: Json) -> None:
        for each in _objects(content):
            if each.get("key") == old or each.get("ledger_key") == old:
                _rename(each, new, data)

    edit_json(manifest, edit)
    _name_manifest(store, manifest)
    return target


def _rename(entry: Json, key: str, data: bytes) -> None:
    prefix = "ledger_" if "ledger_key" in entry else ""
    entry[f"{prefix}key"] = key
    entry[f"{prefix}sha256"] = _digest(data)
    if "num_bytes" in entry:
        entry["num_bytes"] = len(data)
    if entry.get("pieces") is not None:
        pieces = pieces_of(io.BytesIO(data))
        entry["pieces"] = (
            pieces.model_dump(mode="json") if hasattr(pieces, "model_dump") else pieces
        )


def _name_manifest(store: Path, manifest: Path) -> None:
    digest = _digest(_content(manifest))
    edit_json(store / "_SUCCESS", lambda content: content["manifests"][0].update(sha256=digest))


def forge_manifest(store: Path, edit: Callable[[Json], object]) -> None:
    """Apply ``edit`` to the manifest of the first version, and name the result in ``_SUCCESS``."""
    (manifest,) = store.glob("manifests/*/v1.json")
    edit_json(manifest, edit)
    _name_manifest(store, manifest)


def edit_json(path: Path, edit: Callable[[Json], object]) -> None:
    """Apply ``edit`` to the content of a JSON file."""
    content = json.loads(_content(path))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _content(path: Path) -> bytes:
    """Read a file; raise ``ValueError`` for what an earlier mutation put there, such as a FIFO."""
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    return path.read_bytes()


def _objects(value: Any) -> list[Json]:
    """Return every object within a JSON value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [each for part in inner for each in _objects(part)]
    return [value, *found] if isinstance(value, dict) else found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
