"""Counts of a campaign, and the report that is printed at its end."""

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from tests.faults.real.audit import Recomputed

RECOVERY_S = 15.0
"""Limit in seconds from a killed worker to the first unit of its replacement.

The loading of the models is not included.
"""


@dataclass
class Tally:
    """Counts that a campaign fills while it runs."""

    strikes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Maps the name of a fault to the number of times that it was injected."""
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from ``heal`` to the next unit, for faults that had time to recover."""
    kills: int = 0
    """Processes that were killed with SIGKILL."""
    resumes: int = 0
    """Restarts of a build."""
    builds: int = 0
    identical: int = 0
    """Builds that ended in the bytes of the undisturbed build."""
    units: int = 0
    uploads_again: int = 0
    lost: int = 0
    duplicated: int = 0
    driver_deaths: list[Recomputed] = field(default_factory=list)
    load_s: float = 0.0
    """Seconds from the start of a worker process to its first unit, without faults."""
    most_in_flight: int = 0
    """Maximum number of units in flight over all workers."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def all_problems(self) -> list[str]:
        """Return every violated requirement; empty if there is none."""
        found = list(self.problems)
        slowest = max(self.recoveries.get("worker killed", [0.0]))
        if slowest > RECOVERY_S + self.load_s:
            found.append(f"a killed worker's successor took {slowest:.1f} s to its first unit")
        for death in self.driver_deaths:
            if death.finished:
                found.append(f"{death.finished} finished units were computed again")
            if death.in_flight > self.most_in_flight:
                found.append(f"a killed driver cost {death.in_flight} uploaded units")
        return found

    def lines(self) -> list[str]:
        """Return the lines of the report."""
        header = f"{'fault':24}{'strikes':>8}{'timed':>7}{'next unit after':>17}{'at most':>10}"
        rows = [header, "-" * len(header)]
        for name, count in sorted(self.strikes.items()):
            seconds = self.recoveries.get(name, [])
            measured = f"{median(seconds):15.1f} s{max(seconds):8.1f} s" if seconds else ""
            rows.append(f"{name:24}{count:8}{len(seconds):7}{measured}")
        in_flight = [death.in_flight for death in self.driver_deaths]
        return [
            *rows,
            "",
            f"faults {sum(self.strikes.values())} in {self.seconds:.0f} s",
            f"kills {self.kills}",
            f"resumes {self.resumes}",
            f"builds {self.builds}, with identical bytes {self.identical}",
            f"units {self.units}, uploaded again {self.uploads_again}",
            f"lost {self.lost}",
            f"duplicated {self.duplicated}",
            f"a worker's process needs {self.load_s:.1f} s to its first unit without faults",
            f"computed again after {len(in_flight)} killed drivers: finished units "
            f"{sum(death.finished for death in self.driver_deaths)}, uploaded units without a "
            f"receipt {sum(in_flight)} (at most {max(in_flight, default=0)} at once; "
            f"{self.most_in_flight} may be in flight)",
        ]
