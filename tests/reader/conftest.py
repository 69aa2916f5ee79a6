"""The small sealed data set, also as a copy to damage; and synthetic pairs in many shards."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.sdxl_pairs import write_pairs
from tests.sealed import built, damaged, sealed_folder

__all__ = ["built", "damaged", "sealed_folder"]

SHAPE = (4, 4, 4)
COUNT = 203
"""Number of pairs: 7 · 29, coprime to the numbers of ranks, workers and pairs in a batch here."""


@pytest.fixture(scope="session")
def pairs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic pairs in 21 shards. Read only."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(str(folder), COUNT, latent_shape=SHAPE, shard_bytes=2_560, rows_per_batch=4)
    return folder


@pytest.fixture
def pairs_copy(pairs_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the pairs that one test may change."""
    return Path(shutil.copytree(pairs_folder, tmp_path / "pairs"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return an empty folder that all users may list. Only one user may list those of pytest."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
