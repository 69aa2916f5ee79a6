"""Tiny model folders for all tests of diffusers models."""

import shutil
from pathlib import Path

import pytest

from tests.models.diffusers.tiny import save_tiny_pipeline


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def epsilon_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("model"))


@pytest.fixture
def broken(epsilon_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(epsilon_folder, tmp_path / "model"))
