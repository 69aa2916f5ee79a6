"""Exit codes of every command and job. ``docs/operations.md`` has the same table."""

from enum import IntEnum

from pipeline.core.errors import (
    NPDError,
    PermanentStoreError,
    StoreError,
    StoreFullError,
    UserError,
)


class ExitCode(IntEnum):
    """Exit code of a command. One error has one code in every command."""

    DONE = 0
    """The command did what it was asked to do. For ``npd status``: everything is sealed."""
    PROBLEM = 1
    """It ran, and failed or found a problem. The same command may succeed later."""
    NOT_TRIED = 2
    """Nothing was tried, because an argument, the configuration, an input or the place is wrong."""
    IN_PROGRESS = 3
    """``npd status``: a build is in progress."""
    STALLED = 4
    """``npd status``: a build makes no progress."""
    INTERRUPTED = 130
    """Stopped by SIGINT, as from Ctrl-C."""
    PIPE_CLOSED = 141
    """The reader of its output has closed the pipe, as ``head`` does."""
    TERMINATED = 143
    """Stopped by SIGTERM."""


def exit_code_of(error: NPDError) -> ExitCode:
    """Return the exit code of a command that ends with ``error``."""
    # A store is full only after something was written to it.
    if isinstance(error, StoreFullError) or (isinstance(error, StoreError) and error.has_begun):
        return ExitCode.PROBLEM
    # A bucket that does not exist or may not be read is a wrong place, like a wrong path.
    if isinstance(error, UserError | PermanentStoreError):
        return ExitCode.NOT_TRIED
    return ExitCode.PROBLEM
