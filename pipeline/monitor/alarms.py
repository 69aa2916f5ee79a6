"""Conditions of a running build that need a person, each reported once until it ends."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from pipeline.config.notify import EventName, NotifyConfig
from pipeline.core.quantities import counted, human_seconds
from pipeline.monitor.progress import BuildProgress, Drift


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a build."""

    name: EventName
    text: str
    """One sentence for a person. It may hold text from data."""
    numbers: dict[str, Any] = field(default_factory=dict)
    """Figures for programs."""


class Alarms:
    """Finds the events ``failing`` and ``drifting`` in the progress of a build."""

    def __init__(self, config: NotifyConfig) -> None:
        self._config = config
        self._is_failing = False
        self._drift: Drift | None = None

    def check(self, progress: BuildProgress) -> Iterator[Event]:
        """Yield the events that have begun since the last check."""
        failing = self._failing(progress)
        if failing is not None and not self._is_failing:
            yield failing
        self._is_failing = failing is not None
        drift = progress.keep_rate.drift
        # A drift that goes on has been reported.
        if drift is not None and self._drift is None:
            yield _drifting(drift)
        self._drift = drift

    def _failing(self, progress: BuildProgress) -> Event | None:
        if not progress.computing:
            return None
        failures, quiet = progress.failures_in_a_row, monotonic() - progress.last_commit
        numbers = {"failures_in_a_row": failures, "seconds_since_unit": round(quiet, 1)}
        if failures >= self._config.after_failures:
            text = f"{counted(failures, 'attempt')} at units failed in a row"
            return Event(name="failing", text=text, numbers=numbers)
        if quiet > self._config.after_seconds:
            text = f"no unit was finished for {human_seconds(quiet)}"
            return Event(name="failing", text=text, numbers=numbers)
        return None


def _drifting(drift: Drift) -> Event:
    return Event(
        name="drifting",
        text=(
            f"the latest units keep {drift.recent:.1%} of their candidates; {drift.low:.1%} to "
            f"{drift.high:.1%} was expected from the units before"
        ),
        numbers={
            "kept_share_recent": drift.recent,
            "kept_share_before": drift.before,
            "low": drift.low,
            "high": drift.high,
        },
    )
