"""Conditions that need a person, in the progress of builds."""

import random
from time import monotonic

from pipeline.config.notify import NotifyConfig
from pipeline.monitor.alarms import Alarms
from pipeline.monitor.progress import BuildProgress, KeepRate

UNIT = 64


def _names(alarms: Alarms, progress: BuildProgress) -> list[str]:
    return [event.name for event in alarms.check(progress)]


def _add(rate: KeepRate, random_: random.Random, share: float, units: int) -> int:
    """Add units of independent candidates. Return the number of tests that found a drift."""
    found = 0
    for _ in range(units):
        before = rate.drift
        rate.add(sum(random_.random() < share for _ in range(UNIT)), UNIT)
        found += rate.drift is not None and rate.drift is not before
    return found


def test_failures_in_a_row_are_reported_until_a_unit_is_done_and_again() -> None:
    alarms, progress = Alarms(NotifyConfig(after_failures=3)), BuildProgress()
    assert _names(alarms, progress) == []
    progress.failures_in_a_row = 3
    assert _names(alarms, progress) == ["failing"]
    progress.failures_in_a_row = 9
    assert _names(alarms, progress) == []
    progress.failures_in_a_row = 0
    assert _names(alarms, progress) == []
    progress.failures_in_a_row = 3
    assert _names(alarms, progress) == ["failing"]


def test_silence_is_reported_while_units_are_computed() -> None:
    alarms = Alarms(NotifyConfig(after_seconds=600.0))
    progress = BuildProgress(last_commit=monotonic() - 601)
    (event,) = alarms.check(progress)
    assert event.text == "no unit was finished for 10 min"
    progress.computing = False
    assert _names(alarms, progress) == []


def test_build_whose_rate_does_not_change_raises_no_alarm() -> None:
    random_ = random.Random(0)
    for share in (0.02, 0.5, 0.97):
        assert _add(KeepRate(), random_, share, 5_000) == 0


def test_change_of_the_rate_is_found_and_reported_once() -> None:
    alarms, progress, random_ = Alarms(NotifyConfig()), BuildProgress(), random.Random(1)
    _add(progress.keep_rate, random_, 0.5, 400)
    assert _names(alarms, progress) == []
    # A judge that drifts.
    _add(progress.keep_rate, random_, 0.4, 20)
    (event,) = alarms.check(progress)
    assert event.name == "drifting"
    assert event.numbers["kept_share_recent"] < event.numbers["low"]
    assert abs(event.numbers["kept_share_before"] - 0.5) < 0.02
    assert _names(alarms, progress) == []


def test_few_units_prove_nothing() -> None:
    rate = KeepRate()
    for kept in [UNIT] * 20 + [0] * 20:
        rate.add(kept, UNIT)
    assert rate.drift is None


def test_single_loss_among_units_that_keep_everything_is_no_drift() -> None:
    rate = KeepRate()
    for _ in range(100):
        rate.add(UNIT, UNIT)
    for kept in [UNIT] * 19 + [UNIT - 1]:
        rate.add(kept, UNIT)
    assert rate.drift is None
    for _ in range(20):
        rate.add(UNIT // 2, UNIT)
    assert rate.drift is not None
