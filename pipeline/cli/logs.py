"""Logging of builds, trials and training: what the person sees, and a file with the details.

The terminal shows remarks and warnings of this program. The file has all of its records, the
complete errors of workers, and what Ray prints.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pipeline.cli.console import console
from pipeline.core.errors import NPDError, UserError
from pipeline.core.log_records import OURS, JsonFormatter, LogFormat, TextFormatter, with_level
from pipeline.storage.local_errors import free_space

_person = logging.getLogger("npd")


def remark(message: str) -> None:
    """Print a line for the person, or a record of the log if that is JSON."""
    _person.info(message, extra={"is_remark": True})


def remark_log(log: Path | None) -> None:
    """Print where the log is."""
    remark("no log file: its folders cannot be written" if log is None else f"log: {log}")


def report_progress(message: str) -> None:
    """Print a line about the progress, with its time if the output is not a terminal."""
    _person.info(message)


def report_error(error: NPDError) -> None:
    """Print the error that ends a command."""
    _person.error(str(error), extra={"is_remark": True})


class ConsoleHandler(logging.Handler):
    """Prints remarks, warnings and errors of this program on the console.

    With a JSON formatter, it prints all records of this program, and warnings of others.
    """

    def __init__(self, formatter: JsonFormatter | None = None) -> None:
        super().__init__()
        self._json = formatter

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record, unless it is a detail."""
        is_ours = record.name.partition(".")[0] in OURS
        is_warning = record.levelno >= logging.WARNING
        if self._json is not None:
            if is_ours or is_warning:
                console.file.write(f"{self._json.format(record)}\n")
                console.file.flush()
        elif record.name == _person.name or (is_ours and is_warning):
            _print(record)


class LogFile(logging.FileHandler):
    """Log file of a command. A full disk ends it with one warning, and the command goes on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self._has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless an earlier one could not be written."""
        if not self._has_failed:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - a name of logging
        """Warn once about an error of the file system, where ``logging`` prints a traceback."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._has_failed = True
        _person.warning(
            "the log %s cannot be written: %s (%s); the command goes on without it",
            self.baseFilename,
            error.strerror,
            free_space(Path(self.baseFilename).parent),
        )

    def close(self) -> None:
        """Close the file. What a full disk does not hold is lost."""
        with suppress(OSError):
            super().close()


@contextmanager
def logging_of(
    name: str, log_format: LogFormat, log_file: Path | None, *, plan_id: str | None = None
) -> Iterator[Path | None]:
    """Log to standard error in a format, and to a file. Yield its path, or None without one.

    An ``NPDError`` that ends the context is logged. By default the file begins with ``name`` and is
    in the folder of the user for such files, or in that for temporary files if it cannot be
    written. Raise ``UserError`` if ``log_file`` cannot be written.
    """
    as_json = JsonFormatter(plan_id) if log_format == "json" else None
    handlers: list[logging.Handler] = [ConsoleHandler(as_json)]
    file = _open(log_file, name)
    if file is not None:
        file.setFormatter(as_json or TextFormatter())
        handlers.append(file)
    root = logging.getLogger()
    before = [each for each in root.handlers if isinstance(each, ConsoleHandler)]
    levels = {name: logging.getLogger(name).level for name in OURS}
    _replace(root, before, handlers)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield None if file is None else Path(file.baseFilename)
    except NPDError as error:
        report_error(error)
        error.is_logged = True
        raise
    finally:
        _replace(root, handlers, before)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if file is not None:
            file.close()


def _replace(
    logger: logging.Logger, old: Sequence[logging.Handler], new: Sequence[logging.Handler]
) -> None:
    for handler in old:
        logger.removeHandler(handler)
    for handler in new:
        logger.addHandler(handler)


def _print(record: logging.LogRecord) -> None:
    message = with_level(record)
    # In a terminal the time of a line is the time at which it appears.
    if not console.is_terminal and not getattr(record, "is_remark", False):
        message = f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%d %H:%M:%S} {message}"
    style = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno)
    console.print(message, style=style, soft_wrap=True)


def _open(log_file: Path | None, name: str) -> LogFile | None:
    if log_file is not None:
        try:
            return LogFile(log_file)
        except OSError as error:
            raise UserError(f"cannot write the log {log_file}: {error.strerror}") from error
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state")
    file = f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    for folder in (state / "noise-prompt-dataset", Path(tempfile.gettempdir())):
        try:
            folder.expanduser().mkdir(parents=True, exist_ok=True)
            return LogFile(folder.expanduser() / file)
        # A container may have no home and a read-only root. No command needs its log.
        except (OSError, RuntimeError):
            continue
    return None
