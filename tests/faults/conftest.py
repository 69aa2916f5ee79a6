"""Says at the end of a test run how many cases of the simulation it ran."""

from collections import Counter

import pytest

CASES = "simulated cases"
"""The property in which a test notes how many it ran."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            cases = dict(report.user_properties).get(CASES, 0)
            counts[outcome] += int(str(cases))
    if counts.total():
        terminalreporter.write_line(f"faults: {counts.total()} simulated cases")
