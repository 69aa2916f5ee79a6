"""A sealed data set with two versions: the first, and a selection of half of its pairs."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from pipeline.publish.compact import compact_in
from pipeline.publish.select import select
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from tests.sealed import Built, manifest_of


@dataclass(frozen=True, kw_only=True)
class TwoVersions:
    """A store in which version 2 is current."""

    folder: Path
    first: Manifest
    second: Manifest

    @property
    def store(self) -> ObjectStore:
        """Store of the folder."""
        return open_store(str(self.folder))

    @property
    def plan_id(self) -> str:
        """Plan id of both versions."""
        return self.first.plan_id


def select_scene(store: ObjectStore, margin: float) -> Manifest:
    """Select the pairs whose gain under the reward scene exceeds ``margin``."""
    return select(store, {"scene": margin}, partial(map, partial(compact_in, store))).manifest


@pytest.fixture(scope="session")
def _two_versions(
    built: Built, sealed_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> TwoVersions:
    folder = tmp_path_factory.mktemp("versions") / "store"
    shutil.copytree(sealed_folder, folder)
    first = manifest_of(folder)
    gains = sorted(
        golden - source
        for unit in built.units
        for outcome in unit.outcomes
        for source in [outcome.source_rewards["scene"]]
        for golden in [outcome.golden_rewards["scene"]]
        if outcome.status == "kept" and source is not None and golden is not None
    )
    second = select_scene(open_store(str(folder)), gains[len(gains) // 2])
    return TwoVersions(folder=folder, first=first, second=second)


@pytest.fixture
def two_versions(_two_versions: TwoVersions, tmp_path: Path) -> TwoVersions:
    """A new copy for each test."""
    folder = Path(shutil.copytree(_two_versions.folder, tmp_path / "two"))
    return TwoVersions(folder=folder, first=_two_versions.first, second=_two_versions.second)
