"""All readers return the same pairs from a file that ``npd verify`` accepts."""

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import VerificationError
from pipeline.core.identity import sha256
from pipeline.core.records import Split
from pipeline.reader import NoisePairDataset
from pipeline.storage.layout import ShardFormat
from pipeline.storage.open import open_store
from pipeline.storage.sealed_files import read_all_ways, shard_refs
from tests.publish import hostile_arrow, hostile_tar
from tests.publish.damage import forge_shard
from tests.publish.problems import problems_in
from tests.publish.readings import (
    as_reading,
    noises_of,
    noises_of_npz,
    readings,
    readings_of_others,
)
from tests.sealed import Built, manifest_of

FORMATS: tuple[ShardFormat, ...] = ("arrow", "webdataset")
VARIANTS = {"arrow": hostile_arrow, "webdataset": hostile_tar}
_FUZZED = 120


@pytest.fixture(scope="module")
def sets(built: Built, tmp_path_factory: pytest.TempPathFactory) -> dict[ShardFormat, Path]:
    """Small data set in a single format, once for each format; read only."""
    folders = {}
    for name in FORMATS:
        output = built.plan.settings.output.model_copy(update={"formats": (name,)})
        settings = built.plan.settings.model_copy(update={"output": output})
        plan = built.plan.model_copy(update={"settings": settings})
        plan = plan.model_copy(update={"plan_id": plan.identity()})
        folders[name] = tmp_path_factory.mktemp(name)
        replace(built, plan=plan).sealed_in(str(folders[name]))
        assert problems_in(folders[name]) == []
    return folders


def _first_shard(folder: Path, name: ShardFormat) -> bytes:
    return (folder / manifest_of(folder).shards[Split.TRAIN][name][0].key).read_bytes()


@pytest.mark.parametrize(
    ("name", "change", "is_refused"),
    [
        pytest.param(name, change, is_refused, id=f"{name}-{index}-{change.__name__}")
        for name in FORMATS
        for is_refused, changes in (
            (True, VARIANTS[name].REFUSED),
            (False, VARIANTS[name].ACCEPTED),
        )
        for index, change in enumerate(changes)
    ],
)
def test_shard_is_named_or_every_reader_reads_alike(
    sets: dict[ShardFormat, Path],
    tmp_path: Path,
    name: ShardFormat,
    change: Callable[[bytes], bytes],
    is_refused: int,
) -> None:
    folder = Path(shutil.copytree(sets[name], tmp_path / "store"))
    original = _first_shard(folder, name)
    data = change(original)
    assert data != original
    key = forge_shard(folder, data, name)
    problems = problems_in(folder)
    if problems:
        assert is_refused and all(problem.startswith(key) for problem in problems)
        try:
            list(NoisePairDataset(str(folder)))
        except VerificationError as error:
            assert key in str(error)
        return
    found = readings(folder, tmp_path, name)
    assert all(reading == found["dataset"] for reading in found.values()), found.keys()
    assert not is_refused


@pytest.mark.parametrize("name", FORMATS)
def test_every_reader_reads_the_sealed_set_alike(
    sets: dict[ShardFormat, Path], tmp_path: Path, name: ShardFormat
) -> None:
    found = readings(sets[name], tmp_path, name)
    assert len(found["dataset"]) > 10
    assert all(reading == found["dataset"] for reading in found.values())
    assert noises_of_npz(sets[name], tmp_path / "npz") == noises_of(found["dataset"])


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_changed_at_random_are_refused_or_read_alike(
    sets: dict[ShardFormat, Path], tmp_path: Path, name: ShardFormat
) -> None:
    store = open_store(str(sets[name]))
    ref = shard_refs(store, manifest_of(sets[name]), Split.TRAIN)[0]
    original = _first_shard(sets[name], name)
    numbers = random.Random(1)
    refused = 0
    for _ in range(_FUZZED):
        edited = bytearray(original)
        for _ in range(numbers.choice([1, 1, 4])):
            edited[numbers.randrange(len(edited))] = numbers.randrange(256)
        data = bytes(edited)
        changed: Any = ref.info.model_copy(
            update={"sha256": sha256(data), "num_bytes": len(data), "pieces": None}
        )
        try:
            pairs = read_all_ways(data, replace(ref, info=changed))
        except VerificationError:
            refused += 1
            continue
        (tmp_path / "shard").write_bytes(data)
        ours = repr(as_reading(pairs))  # a number may have become NaN
        for reading in readings_of_others(tmp_path / "shard", name).values():
            assert repr(reading) == ours
    assert 0 < refused < _FUZZED
