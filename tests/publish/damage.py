"""Damage to stored objects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.identity import readable_json, sha256
from pipeline.storage import layout
from pipeline.storage.manifest import Manifest
from tests.sealed import manifest_of

Damage = Callable[[Path], None]


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    """The last byte is gone."""
    path.write_bytes(path.read_bytes()[:-1])


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def edit_json(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def reseal(folder: Path, manifest: Manifest) -> None:
    """Store a manifest that tells other things, with ``_SUCCESS`` believing it."""
    data = readable_json(manifest.model_dump(mode="json"))
    (folder / layout.manifest_key(manifest.plan_id, 1)).write_bytes(data)
    edit_json(folder / "_SUCCESS", lambda s: s["manifests"][0].update(sha256=sha256(data)))


def drop_pieces(folder: Path) -> None:
    """Make the manifest one of an earlier version, which knew no digests of pieces."""
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
