"""Damaged or missing shards: an error names them, or they are skipped and counted."""

from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from pipeline.core.errors import ObjectNotFoundError, UserError, VerificationError
from pipeline.core.records import Split
from pipeline.reader import NoisePairDataset, NoisePairTable
from tests.publish.damage import DAMAGES, Damage
from tests.reader.conftest import COUNT
from tests.reader.reading import ids_of, ledger_of
from tests.sealed import manifest_of

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

_ROWS = 10
"""Number of rows in a shard."""


def _key(folder: Path, shard: int) -> str:
    return manifest_of(folder).shards[Split.TRAIN]["arrow"][shard].key


@DAMAGES
@pytest.mark.parametrize("seed", [None, 1])
def test_damage_is_an_error_that_names_the_shard(
    pairs_copy: Path, damage: Damage, seed: int | None
) -> None:
    key = _key(pairs_copy, 3)
    damage(pairs_copy / key)
    with pytest.raises((ObjectNotFoundError, VerificationError), match=f"{key}.*npd repair"):
        list(NoisePairDataset(str(pairs_copy), seed=seed))
    with pytest.raises((ObjectNotFoundError, VerificationError), match=key):
        NoisePairTable(str(pairs_copy))[3 * _ROWS]


def test_pairs_before_the_damage_are_returned(pairs_copy: Path) -> None:
    (pairs_copy / _key(pairs_copy, 3)).unlink()
    given: list[str] = []
    with pytest.raises(ObjectNotFoundError):
        given.extend(ids_of(NoisePairDataset(str(pairs_copy))))
    pairs = iter(NoisePairDataset(str(pairs_copy)))
    wanted = [row["sample_id"] for row in ledger_of(pairs_copy)]
    assert [next(pairs)["sample_id"] for _ in range(3 * _ROWS)] == wanted[: 3 * _ROWS]


@DAMAGES
@pytest.mark.parametrize(("workers", "batch_size"), [(0, None), (0, 8), (2, 8)])
@pytest.mark.filterwarnings("ignore:skipped a shard")
def test_damage_is_skipped_and_counted_on_request(
    pairs_copy: Path, damage: Damage, workers: int, batch_size: int | None
) -> None:
    keys = [_key(pairs_copy, shard) for shard in (3, 20)]
    for key in keys:
        damage(pairs_copy / key)
    pairs = NoisePairDataset(str(pairs_copy), seed=1, batch_size=batch_size, on_damage="skip")
    assert pairs.damaged == ()
    rows = [row["sample_id"] for row in ledger_of(pairs_copy)]
    complete = rows[:30] + rows[40:200]
    for _ in range(2):
        loader = DataLoader(pairs, batch_size=None, num_workers=workers)
        assert sorted(ids_of(loader)) == sorted(complete)
        assert pairs.damaged == tuple(f"{pairs_copy.as_uri()}/{key}" for key in keys)


def test_skipped_damage_warns_once(pairs_copy: Path) -> None:
    key = _key(pairs_copy, 0)
    (pairs_copy / key).unlink()
    pairs = NoisePairDataset(str(pairs_copy), on_damage="skip")
    with pytest.warns(UserWarning, match=f"skipped a shard: .*{key}") as warned:
        assert len([*pairs]) == COUNT - _ROWS
    assert len(warned) == 1


def test_repaired_shard_is_read_again(pairs_copy: Path) -> None:
    path = pairs_copy / _key(pairs_copy, 0)
    data = path.read_bytes()
    path.unlink()
    pairs = NoisePairDataset(str(pairs_copy))
    with pytest.raises(ObjectNotFoundError):
        next(iter(pairs))
    path.write_bytes(data)
    assert len([*pairs]) == COUNT


def test_digest_is_computed_once_for_all_workers_and_epochs(pairs_copy: Path) -> None:
    pairs = NoisePairDataset(str(pairs_copy), batch_size=8)
    assert len([*ids_of(DataLoader(pairs, batch_size=None, num_workers=2))]) == COUNT
    path = pairs_copy / _key(pairs_copy, 0)
    data = bytearray(path.read_bytes())
    at = data.index(b"number 0")
    data[at : at + 8] = b"NUMBER 0"
    path.write_bytes(data)
    assert "NUMBER 0" in next(iter(pairs))["prompt"][0], "verified before"
    with pytest.raises(VerificationError):
        next(iter(NoisePairDataset(str(pairs_copy))))
    unchecked = next(iter(NoisePairDataset(str(pairs_copy), verify=False)))
    assert "NUMBER 0" in unchecked["prompt"]


def test_damaged_ledger_is_an_error_if_filters_need_it(pairs_copy: Path) -> None:
    key = manifest_of(pairs_copy).ledger.key
    (pairs_copy / key).write_bytes(b"no ledger")
    with pytest.raises(VerificationError, match=key):
        NoisePairDataset(str(pairs_copy), prompt="fox")
    assert len([*NoisePairDataset(str(pairs_copy))]) == COUNT
    with pytest.raises(UserError, match="no split 'val'"):
        NoisePairTable(str(pairs_copy), "val")
