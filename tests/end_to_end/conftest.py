"""``npd`` in this process, and one undisturbed build that all tests are held against."""

import shutil
import sys
from pathlib import Path

import pytest

from pipeline import build as steps
from pipeline import cli
from pipeline.storage.open import open_store
from pipeline.storage.receipts import Commit
from tests.end_to_end.builds import NUM_UNITS, Ended, Npd, with_one_worker, write_config


@pytest.fixture
def npd(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Npd:
    """The command ``npd`` in this process, which spares it its imports and a Ray of its own."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["npd", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        return Ended(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def undisturbed(
    ray_cluster: None, config_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder that one worker built without any trouble; tests copy it and leave it alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    opened = steps.open_build(open_store(str(folder)), with_one_worker(config_path))
    summaries = list(steps.compute(opened, steps.units_done(opened)))
    assert sorted(summary.unit for summary in summaries) == list(range(NUM_UNITS))
    assert {summary.commit for summary in summaries} == {Commit.MINE}
    steps.publish(opened)
    return folder


@pytest.fixture
def copied(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed build, to be damaged."""
    return shutil.copytree(undisturbed, tmp_path / "copy")
