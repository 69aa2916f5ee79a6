"""The command ``npd`` in this process, and one build without faults for comparison."""

import shutil
import sys
from pathlib import Path

import pytest

from pipeline.cli.app import main
from pipeline.config.file import load_config
from pipeline.storage.open import open_store
from tests.end_to_end.builds import NUM_UNITS, Ended, Npd, write_config
from tests.without_ray import build_without_ray


@pytest.fixture
def npd(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Npd:
    """The command ``npd`` in this process, which saves its imports and the start of Ray."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["npd", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code
        return Ended(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def undisturbed(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was built without Ray. Tests must not change it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    build_without_ray(open_store(str(folder)), load_config(config_path))
    assert len(list(folder.glob("receipts/*/*.json"))) == NUM_UNITS
    return folder


@pytest.fixture
def copied(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed build, which a test may change."""
    return shutil.copytree(undisturbed, tmp_path / "copy")
