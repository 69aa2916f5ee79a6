"""Log records of a build as text or as JSON, in the driver and in the processes of workers."""

import json
import logging
from datetime import UTC, datetime
from typing import Literal

from pipeline.core.escape import for_terminal

LogFormat = Literal["text", "json"]

OURS = ("pipeline", "npd")
"""Loggers whose records are kept from level INFO; those of other packages from WARNING."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object in one line.

    Keys are always the same: time, level, logger, plan, unit, worker, attempt, message, error. What
    does not apply is null. The call that logs passes ``unit``, ``worker`` and ``attempt`` in
    ``extra``.
    """

    def __init__(self, plan_id: str | None = None, worker: str | None = None) -> None:
        super().__init__()
        self._plan_id, self._worker = plan_id, worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        content = {
            "time": time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "plan": self._plan_id,
            "unit": getattr(record, "unit", None),
            "worker": getattr(record, "worker", self._worker),
            "attempt": getattr(record, "attempt", None),
            "message": record.getMessage(),
            "error": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps(content)


class TextFormatter(logging.Formatter):
    """Formats a record as its time, its level if it is a warning or an error, and its message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text, with control characters of messages escaped."""
        error = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{time_of(record)} {for_terminal(with_level(record) + error)}"


def with_level(record: logging.LogRecord) -> str:
    """Return the message of a record, after its level if it is a warning or an error."""
    level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
    return level + record.getMessage()


def time_of(record: logging.LogRecord) -> str:
    """Return the time of a record in UTC, as in ISO 8601."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def log_to_stderr(log_format: LogFormat, plan_id: str, worker: str) -> None:
    """Write the records of this process to standard error.

    For the process of a worker, whose standard error is a file in Ray's folder of logs.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(plan_id, worker) if log_format == "json" else TextFormatter()
    )
    logging.getLogger().addHandler(handler)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
