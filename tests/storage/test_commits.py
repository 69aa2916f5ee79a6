"""Listing of committed units by ranges of keys: none is lost, and no range may fail silently."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import RetryableStoreError
from pipeline.storage import layout
from pipeline.storage.commits import done_units, key_ranges, list_commits
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.parallel import in_parallel
from tests.storage.lying_servers import Reply, entry, lying, page, with_length

PLAN = "p"

NUM_UNITS = st.sampled_from([1, 1000, 1001, 99_999, 100_001, 1_000_000, 1_000_001, 10**8]) | (
    st.integers(1, 10**11)
)


@given(NUM_UNITS, st.data())
def test_ranges_cover_each_unit_once_and_in_order(num_units: int, data: st.DataObject) -> None:
    ranges = key_ranges(num_units)
    assert 1 <= len(ranges) <= 100
    assert ranges == sorted(ranges)
    drawn = data.draw(st.lists(st.integers(0, num_units - 1), max_size=20))
    for unit in {0, num_units - 1, num_units // 2, *drawn}:
        digits = layout.receipt_key(PLAN, unit).removeprefix(layout.receipts_prefix(PLAN))
        assert sum(digits.startswith(each) for each in ranges) == 1, unit


@given(st.integers(1001, 10**8))
def test_ranges_are_even(num_units: int) -> None:
    """A plan of one unit more than a power of ten is not listed in two parts of 1 and 99%."""
    ranges = key_ranges(num_units)
    assert len(ranges) >= min(10, num_units // 1000)
    assert 10 ** (8 - len(ranges[0])) <= max(1000, num_units / 10)


def test_commits_are_those_of_all_ranges(store: ObjectStore) -> None:
    units = [0, 7, 999, 1000, 1999, 2000, 2499]
    for unit in [*units, 2500, 123_456_789]:  # the last two lie beyond the plan
        store.put(layout.receipt_key(PLAN, unit), b"{}")
    for name in ("0000001.json", "00000003.json.bak", "x", "00001001.json/x"):
        store.put(f"{layout.receipts_prefix(PLAN)}{name}", b"foreign")
    store.put(layout.receipt_key("another", 3), b"{}")
    assert list(done_units(store, PLAN, 2500)) == units
    assert list(list_commits(store, PLAN, 2500)) == units
    assert list(done_units(store, PLAN, 200_000_000)) == [*units, 2500, 123_456_789]
    assert list(done_units(store, PLAN, 5)) == [0]


def test_commits_of_which_one_range_cannot_be_listed_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fewer receipts than there are would compute units again."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    failing = layout.receipts_prefix(PLAN) + "00017"

    def lie(method: str, query: dict[str, str], headers: dict[str, str]) -> Reply:
        prefix = query["prefix"]
        if prefix == failing:
            return with_length(b"<Error><Code>SlowDown</Code></Error>", "503 Slow Down")
        return with_length(page(entry(f"{prefix}000.json")))

    with lying(lie) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        store = open_store("s3://bucket")
        assert len(list(done_units(store, PLAN, 17_000))) == 17
        with pytest.raises(RetryableStoreError, match=failing):
            list(done_units(store, PLAN, 20_000))


@pytest.mark.parametrize("threads", [1, 4])
def test_parallel_results_are_in_order_and_few_are_held(threads: int) -> None:
    begun: list[int] = []

    def call(number: int) -> int:
        begun.append(number)
        return number

    results = in_parallel(call, range(100), threads)
    for number, result in enumerate(results):
        assert result == number
        assert len(begun) <= number + 2 * threads


def test_parallel_error_is_raised_at_its_place_and_ends_the_calls() -> None:
    begun: list[int] = []

    def call(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise RetryableStoreError("cannot list")
        return number

    results = in_parallel(call, range(1000), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RetryableStoreError):
        list(results)
    assert len(begun) < 10
    assert not [each for each in threading.enumerate() if each.name.startswith("npd-requests")]
