"""A line at the end of a test run with the number of simulated cases."""

from collections import Counter

import pytest

CASES = "simulated cases"
"""Property in which a test records its number of cases."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            cases = dict(report.user_properties).get(CASES, 0)
            counts[outcome] += int(str(cases))
    if counts.total():
        terminalreporter.write_line(f"faults: {counts.total()} simulated cases")
