"""A folder of each published reward, shared by all tests of rewards."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.models.rewards.folders import BUILDERS


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Map each kind to the folder of a small reward with its files as they are published."""
    folders = {}
    for kind, build in BUILDERS.items():
        folders[kind] = tmp_path_factory.mktemp(kind)
        build(folders[kind])
    return folders
