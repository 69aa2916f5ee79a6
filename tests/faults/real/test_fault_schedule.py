"""The schedule of faults depends on the seed alone."""

from collections import Counter
from itertools import islice

from tests.faults.real.fault_schedule import KILLS_A_ROUND, Strike, every_kind, strikes

FAULTS = every_kind(links=True)
ROUND = sum(KILLS_A_ROUND if fault.kills else 1 for fault in FAULTS)


def _first(seed: int, count: int) -> list[tuple[object, ...]]:
    return [_drawn(strike) for strike in islice(strikes(seed, FAULTS), count)]


def _drawn(strike: Strike) -> tuple[object, ...]:
    draws = [strike.chance.random() for _ in range(3)]
    return strike.fault.name, strike.pause_s, strike.outage_s, strike.alone, *draws


def test_same_seed_repeats_the_faults_and_another_seed_changes_them() -> None:
    assert _first(5, 50) == _first(5, 50)
    assert _first(5, 50) != _first(6, 50)


def test_every_round_has_every_kind_and_more_kills() -> None:
    for number in range(3):
        names = [strike.fault.name for strike in islice(strikes(number, FAULTS), ROUND)]
        assert Counter(names) == {
            fault.name: KILLS_A_ROUND if fault.kills else 1 for fault in FAULTS
        }


def test_pauses_and_outages_are_within_their_limits() -> None:
    for strike in islice(strikes(1, FAULTS), 10 * ROUND):
        least, most = strike.fault.outage_s
        assert least <= strike.outage_s <= most
        assert strike.pause_s >= 0
