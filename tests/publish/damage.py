"""Damage to stored objects."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.identity import readable_json, sha256
from pipeline.core.records import Split
from pipeline.storage import layout
from pipeline.storage.formats.checked_bytes import pieces_of
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import Manifest
from tests.sealed import manifest_of

Damage = Callable[[Path], None]


def flip(path: Path) -> None:
    """Flip one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    """Remove the last byte."""
    path.write_bytes(path.read_bytes()[:-1])


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def reseal(folder: Path, manifest: Manifest) -> None:
    """Store a changed manifest and its digest in ``_SUCCESS``."""
    _store_and_name(folder, readable_json(manifest.model_dump(mode="json")))


def reseal_json(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the first manifest and update its digest in ``_SUCCESS``."""
    (path,) = folder.glob("manifests/*/v1.json")
    content = json.loads(path.read_bytes())
    edit(content)
    _store_and_name(folder, readable_json(content))


def _store_and_name(folder: Path, data: bytes) -> None:
    (path,) = folder.glob("manifests/*/v1.json")
    path.write_bytes(data)
    edit_json(folder / "_SUCCESS", lambda s: s["manifests"][0].update(sha256=sha256(data)))


def forge_shard(
    folder: Path, data: bytes, shard_format: ShardFormat = "arrow", index: int = 0
) -> str:
    """Replace a training shard by other bytes and update every name and digest."""
    manifest = manifest_of(folder)
    shards = manifest.shards[Split.TRAIN][shard_format]
    (folder / shards[index].key).unlink()
    digest = sha256(data)
    key = layout.shard_key(manifest.plan_id, 1, Split.TRAIN, index, digest, shard_format)
    (folder / key).write_bytes(data)
    shards[index] = shards[index].model_copy(
        update={
            "key": key,
            "sha256": digest,
            "num_bytes": len(data),
            "pieces": pieces_of(io.BytesIO(data)),
        }
    )
    reseal(folder, manifest)
    return key


def drop_pieces(folder: Path) -> None:
    """Convert the manifest to an earlier version, without digests of pieces."""
    manifest = manifest_of(folder)
    shards = {
        split: {
            shard_format: [info.model_copy(update={"pieces": None}) for info in infos]
            for shard_format, infos in formats.items()
        }
        for split, formats in manifest.shards.items()
    }
    reseal(folder, manifest.model_copy(update={"shards": shards}))


DAMAGES = pytest.mark.parametrize("damage", [flip, Path.unlink, truncate], ids=lambda d: d.__name__)
