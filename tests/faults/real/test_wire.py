"""A store behind a faulty wire keeps its contract. Each fault must have had an effect."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.storage.seaweedfs import SeaweedFS
from pipeline.storage import layout
from pipeline.storage.open import open_store
from tests.faults.real.gate import Gate
from tests.faults.real.wire_faults import Busy, Hold, Resets, Slow
from tests.waiting import until

UNITS = range(3)
DEADLINE_S = 300


@pytest.fixture
def gate(s3_env: None, s3_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(s3_server.endpoint_url, "127.0.0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.url)
    yield gate
    gate.close()


@pytest.mark.parametrize(
    "trouble",
    [
        Resets([0, 700, 9_000], "up"),
        Resets([0, 100, 300], "down"),
        Busy(3),
        Slow(3, seconds=0.1),
    ],
    ids=["reset up", "reset down", "503", "slow"],
)
def test_commits_through_a_faulty_wire_are_complete(
    trouble: Resets | Busy | Slow, gate: Gate, s3_url: str
) -> None:
    store = open_store(s3_url)
    gate.trouble = trouble
    for unit in UNITS:
        data, key = bytes([unit]) * 20_000, layout.unit_key("p", unit, f"{unit:064d}")
        assert store.put_if_absent(key, data)
        assert store.put_if_absent(layout.receipt_key("p", unit), key.encode())
        assert not store.put_if_absent(layout.receipt_key("p", unit), b"another attempt")
        assert store.get(key) == data
        assert store.get(layout.receipt_key("p", unit)) == key.encode()
    assert trouble.is_spent()
    place = s3_url.removeprefix("s3://")
    assert [seen.unit for seen in gate.uploads(place)] == list(UNITS)
    # A subset, because the gate does not see a commit whose reply was lost.
    assert {seen.unit for seen in gate.commits(place)} <= set(UNITS)


def test_receipt_on_hold_is_committed_when_released(gate: Gate, s3_url: str) -> None:
    store, key = open_store(s3_url), layout.receipt_key("p", 0)
    gate.trouble = hold = Hold()
    with ThreadPoolExecutor(1) as thread:
        committed = thread.submit(store.put_if_absent, key, b"receipt")
        assert until(lambda: hold.num_units() == 1, DEADLINE_S)
        assert store.head(key) is None
        hold.release()
        assert committed.result(DEADLINE_S)
    assert [seen.unit for seen in gate.commits(s3_url.removeprefix("s3://"))] == [0]
