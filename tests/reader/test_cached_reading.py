"""Data sets that are read through a cache."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from benchmarks.sdxl_pairs import write_pairs
from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.core.records import Split
from pipeline.reader import Cache, NoisePairDataset, NoisePairTable
from pipeline.storage.layout import ShardFormat
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import MAX_OBJECT_BYTES, ObjectInfo, ObjectStore
from pipeline.storage.open import open_store
from tests.publish.damage import flip
from tests.reader.cached_objects import files
from tests.reader.conftest import COUNT, SHAPE
from tests.reader.reading import ids_of, ledger_of
from tests.sealed import manifest_of

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture
def pairs_on_s3(s3_url: str) -> str:
    write_pairs(s3_url, COUNT, latent_shape=SHAPE, shard_bytes=12_800)
    return s3_url


def test_s3_is_read_through_a_bounded_cache(
    pairs_on_s3: str, pairs_folder: Path, tmp_path: Path
) -> None:
    ids = sorted(row["sample_id"] for row in ledger_of(pairs_folder))
    cache = Cache(tmp_path / "mine", 60_000)
    pairs = NoisePairDataset(pairs_on_s3, seed=1, batch_size=8, cache=cache)
    for workers in (0, 2):
        assert sorted(ids_of(DataLoader(pairs, batch_size=None, num_workers=workers))) == ids
    sizes = [path.stat().st_size for path in cache.folder.iterdir()]
    assert 1 < len(sizes) < 5 and sum(sizes) <= 60_000
    filtered = NoisePairDataset(pairs_on_s3, min_gain={"image_reward": 1.0}, cache=cache)
    local = NoisePairDataset(str(pairs_folder), min_gain={"image_reward": 1.0})
    assert [*ids_of(filtered)] == [*ids_of(local)]
    table = NoisePairTable(pairs_on_s3, cache=cache)
    assert table[ids[5]]["sample_id"] == ids[5]


def test_s3_is_read_through_the_default_cache_of_the_user(pairs_on_s3: str, tmp_path: Path) -> None:
    assert len([*NoisePairDataset(pairs_on_s3)]) == COUNT
    folder = tmp_path / "cache" / "noise-prompt-dataset"
    assert Cache.default().folder == folder and len(files(folder)) == 5


def test_s3_damaged_cached_file_is_downloaded_again(pairs_on_s3: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "mine")
    assert len([*NoisePairDataset(pairs_on_s3, cache=cache)]) == COUNT
    for name in files(cache.folder):
        flip(cache.folder / name)
    assert len([*NoisePairDataset(pairs_on_s3, cache=cache)]) == COUNT
    for name in files(cache.folder):
        assert hashlib.sha256((cache.folder / name).read_bytes()).hexdigest() == name


def test_s3_damage_is_an_error_that_names_the_shard(pairs_on_s3: str, tmp_path: Path) -> None:
    store = open_store(pairs_on_s3)
    first, second, *_ = sorted(info.key for info in store.list("shards/"))
    data = bytearray(store.get(first))
    data[len(data) // 2] ^= 1
    store.put(first, bytes(data))
    store.delete(second)
    cache = Cache(tmp_path / "mine")
    with pytest.raises(VerificationError, match=first):
        list(NoisePairDataset(pairs_on_s3, cache=cache))
    with pytest.raises(ObjectNotFoundError, match=second):
        NoisePairTable(pairs_on_s3, cache=cache)[60]
    skipping = NoisePairDataset(pairs_on_s3, cache=cache, on_damage="skip")
    with pytest.warns(UserWarning, match="skipped a shard"):
        assert len([*skipping]) == COUNT - 100
    assert len(skipping.damaged) == 2


def test_opening_reads_only_success_and_manifests(
    pairs_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Watched(LocalStore):
        def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
            asked.append(key)
            return super().get(key, max_bytes)

        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            raise AssertionError(f"listed {prefix}")

    def opened(url: str, *, unsigned: bool) -> ObjectStore:
        assert not unsigned
        return Watched(Path(url))

    monkeypatch.setattr("pipeline.reader.catalog.open_store", opened)
    assert len([*NoisePairDataset(str(pairs_folder))]) == COUNT
    manifest = manifest_of(pairs_folder)
    assert asked == ["_SUCCESS", f"manifests/{manifest.plan_id}/v1.json"]
    assert manifest.num_samples(Split.TRAIN) == COUNT


@pytest.mark.parametrize("format_name", ["arrow", "webdataset"])
def test_unverified_reader_replaces_a_copy_that_cannot_be_parsed(
    folder: Path, tmp_path: Path, format_name: ShardFormat
) -> None:
    url = str(tmp_path / "pairs")
    write_pairs(url, 5, latent_shape=SHAPE, formats=(format_name,))
    cache = Cache(folder)
    wanted = [row["seed"] for row in NoisePairTable(url, cache=cache, verify=False)]
    (name,) = files(folder)
    (folder / name).write_bytes(bytes((folder / name).stat().st_size))
    assert [row["seed"] for row in NoisePairTable(url, cache=cache, verify=False)] == wanted
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == name
