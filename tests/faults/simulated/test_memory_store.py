"""The simulated stores pass the tests of a folder and of a real S3 server."""

from datetime import UTC, datetime

import pytest

from pipeline.storage.object_store import ObjectStore
from pipeline.storage.probe import probe
from tests.faults.simulated.cases import store_of_client
from tests.faults.simulated.memory_s3 import MemoryS3
from tests.faults.simulated.memory_store import Clock, MemoryStore, Objects
from tests.storage.test_object_store import (
    test_absent_object_is_told_apart,
    test_bad_key_is_refused,
    test_delete_removes_one_object,
    test_file_goes_in_and_out,
    test_get_returns_what_was_put,
    test_head_tells_size_and_time,
    test_list_is_sorted_by_code_points,
    test_put_if_absent_first_write_stays,
    test_put_if_absent_race_has_one_winner,
    test_put_if_version_race_loses_no_increment,
    test_put_if_version_refuses_stale,
    test_range_is_cut_at_the_end,
)

__all__ = [
    "test_absent_object_is_told_apart",
    "test_bad_key_is_refused",
    "test_delete_removes_one_object",
    "test_file_goes_in_and_out",
    "test_get_returns_what_was_put",
    "test_head_tells_size_and_time",
    "test_list_is_sorted_by_code_points",
    "test_put_if_absent_first_write_stays",
    "test_put_if_absent_race_has_one_winner",
    "test_put_if_version_race_loses_no_increment",
    "test_put_if_version_refuses_stale",
    "test_range_is_cut_at_the_end",
]


@pytest.fixture(params=["memory", "s3 client in memory"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """Simulated stores, in place of the real ones."""
    objects = Objects(Clock(datetime.now(UTC)))
    return MemoryStore(objects) if request.param == "memory" else store_of_client(MemoryS3(objects))


def test_probe_accepts_the_store_in_memory() -> None:
    objects = Objects(Clock())
    probe(MemoryStore(objects))
    assert objects.contents() == {}


def test_client_lists_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.storage.s3.PAGE_KEYS", 10)
    store = store_of_client(MemoryS3(Objects(Clock())))
    keys = [f"many/{number:05d}" for number in range(35)]
    for key in keys:
        store.put(key, b"")
    assert [info.key for info in store.list("many/")] == keys
