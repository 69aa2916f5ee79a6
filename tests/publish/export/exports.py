"""Helpers that export the small sealed data set, and the expected contents."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.records import Split
from pipeline.publish.export import Exported, Licences, export, specify_export
from pipeline.reader import NoisePairDataset
from pipeline.storage.open import open_store
from tests.sealed import build, changed, demo_prompts

SHAPE = (4, 8, 8)


def export_to(
    out: object,
    sealed: object,
    format_name: str,
    *splits: str,
    samples_per_file: int = 10,
    licences: Licences | None = None,
) -> Exported:
    """Export as ``npd export`` does."""
    store = open_store(str(sealed))
    spec = specify_export(
        store, format_name, splits, samples_per_file=samples_per_file, licences=licences
    )
    return export(store, open_store(str(out)), spec)


def our_samples(sealed: object, split: Split = Split.TRAIN) -> dict[str, dict[str, Any]]:
    """Return the samples of our reader by id."""
    return {sample["sample_id"]: sample for sample in NoisePairDataset(str(sealed), split.value)}


def digests(folder: Path) -> dict[str, str]:
    """Map every file, including hidden ones, to its digest."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="session")
def bare_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Data set of a few pairs without images or source noise, with a negative margin."""
    folder = tmp_path_factory.mktemp("bare")
    settings = changed(
        rewards=[
            {"name": "oracle", "kind": "scene_oracle", "select": False},
            {
                "name": "scene",
                "kind": "scene",
                "path": changed()["rewards"][0]["path"],
                "margin": -100.0,
            },
        ],
        splits={"train": 1.0, "validation": 0.0, "test": 0.0},
        output={"images": "none", "source_noise": False, "formats": ["webdataset"]},
    )
    build(folder / "config", settings, prompts=demo_prompts(5)).sealed_in(str(folder / "sealed"))
    yield folder / "sealed"
