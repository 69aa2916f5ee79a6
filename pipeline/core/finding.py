"""Findings of ``npd doctor``: what a check looked at, what it found, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    """A build works, but slower or with less room than it could."""
    PROBLEM = "problem"
    """A build fails or stops."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check."""

    check: str
    """Name of the check, such as ``clock of the store``."""
    level: Level
    found: str
    """Result of the check, without secrets."""
    remedy: str = ""
    """Action for a person; empty if none is needed."""


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(check=check, level=Level.OK, found=found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Return a finding that slows a build down or may stop it later."""
    return Finding(check=check, level=Level.WARNING, found=found, remedy=remedy)


def problem(check: str, found: str, remedy: str = "") -> Finding:
    """Return a finding with which a build fails."""
    return Finding(check=check, level=Level.PROBLEM, found=found, remedy=remedy)
