"""Webdataset shards, read by ``webdataset`` and by ``tarfile``."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import webdataset

from pipeline.core.records import Split
from pipeline.storage.formats.checked_bytes import ShardInfo
from pipeline.storage.formats.webdataset_shard import write_tar
from tests.sealed import manifest_of
from tests.stages.pairs import SCHEMA, make_pairs


def _shards(folder: Path) -> list[tuple[ShardInfo, ShardInfo]]:
    manifest = manifest_of(folder)
    return [
        pair
        for split in Split
        for pair in zip(
            manifest.shards[split]["arrow"], manifest.shards[split]["webdataset"], strict=True
        )
    ]


def test_plain_webdataset_decodes_what_the_arrow_shards_hold(sealed_folder: Path) -> None:
    for arrow, tar in _shards(sealed_folder):
        rows = pa.ipc.open_file(str(sealed_folder / arrow.key)).read_all().to_pylist()
        reader = webdataset.WebDataset(
            str(sealed_folder / tar.key), shardshuffle=False, empty_check=False
        ).decode()
        samples = list(reader)
        assert len(samples) == len(rows) == tar.num_samples
        for row, sample in zip(rows, samples, strict=True):
            assert sample["__key__"] == row["sample_id"]
            for name in ("source_noise", "golden_noise"):
                noise = sample[f"{name}.npy"]
                assert noise.dtype == np.float16 and noise.shape == (4, 8, 8)
                assert noise.ravel().tolist() == row[name]
            for name in ("source_image", "golden_image"):
                assert sample[f"{name}.png"] == row[name]
            noises_and_images = ("source_noise", "golden_noise", "source_image", "golden_image")
            assert sample["json"] == {k: v for k, v in row.items() if k not in noises_and_images}


def test_members_are_sorted_without_times_and_owners(sealed_folder: Path) -> None:
    for _, shard in _shards(sealed_folder):
        with tarfile.open(sealed_folder / shard.key) as tar:
            members = tar.getmembers()
        samples: dict[str, list[str]] = {}
        for member in members:
            assert member.isfile() and member.mtime == 0
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert member.mode == 0o644
            sample, _, name = member.name.partition(".")
            samples.setdefault(sample, []).append(name)
        assert [m.name.partition(".")[0] for m in members] == [
            sample for sample, names in samples.items() for _ in names
        ], "the files of a sample stand together"
        for names in samples.values():
            assert names == sorted(names)
            assert len(names) == 5


def test_tar_of_the_same_pairs_is_the_same_bytes() -> None:
    batch = SCHEMA.to_batch(make_pairs(6))
    sinks = [io.BytesIO(), io.BytesIO()]
    write_tar(sinks[0], [batch])
    write_tar(sinks[1], [batch.slice(0, 2), batch.slice(2)])
    assert sinks[0].getvalue() == sinks[1].getvalue()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"source": False, "images": False}, ["golden_noise.npy", "json"]),
        ({"source": True, "images": False}, ["golden_noise.npy", "json", "source_noise.npy"]),
    ],
)
def test_tar_holds_only_what_is_stored(options: dict[str, bool], names: list[str]) -> None:
    sink = io.BytesIO()
    write_tar(sink, [SCHEMA.to_batch(make_pairs(1, **options))])
    sink.seek(0)
    with tarfile.open(fileobj=sink) as tar:
        assert [name.partition(".")[2] for name in tar.getnames()] == names


def test_noise_files_are_not_pickles(sealed_folder: Path) -> None:
    shard = _shards(sealed_folder)[0][1]
    with tarfile.open(sealed_folder / shard.key) as tar:
        for member in tar.getmembers():
            if member.name.endswith(".npy"):
                file = tar.extractfile(member)
                assert file is not None
                noise = np.load(io.BytesIO(file.read()), allow_pickle=False)
                assert noise.flags.c_contiguous
