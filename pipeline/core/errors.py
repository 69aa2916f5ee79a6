"""Exceptions of the package, in one tree::

    NPDError
    ├── UserError                  input that the user can correct (also a ValueError)
    │   ├── ConfigError            a configuration file: key, line, nearest valid key
    │   ├── PromptFileError        a prompt file: file, line
    │   ├── PromptChoiceError      too few prompts for the filters, sample or weights
    │   ├── ModelError             a model folder that is missing, damaged or unsupported
    │   ├── EntryPointError        a custom class that is missing or does not fit
    │   ├── CacheError             a cache folder that cannot be written or is full
    │   ├── ClusterError           a Ray cluster that cannot be used: address, token, versions
    │   └── PlanConflictError      the output already holds another plan
    ├── BuildError                 a unit failed too often; committed units stay committed
    │   └── BuildStoppedError      the build stopped on request
    ├── DeviceError                a GPU failed; its process can no longer be used
    │   └── DeviceMemoryError      a batch does not fit; its size is part of the plan
    ├── WorkerLeavingError         a leaving worker discarded its unit; not a fault of the unit
    ├── VerificationError          stored data differs from its receipt or manifest
    └── StoreError
        ├── ObjectNotFoundError
        ├── RetryableStoreError    a time-out, a 503, a reset: the same call may succeed later
        └── PermanentStoreError    no bucket, no put-if-absent: a retry fails too
            ├── AccessDeniedError  these credentials do not allow the call
            └── StoreFullError     no room, or a quota is used up

Retryable and permanent errors are two types because the driver treats them differently. No code
parses messages. A message reports what is wrong, where, and how to correct it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.core.escape import for_terminal


class NPDError(Exception):
    """Base class of all errors that this package raises on purpose.

    Its text is safe to print: messages contain keys and names from data sets.
    """

    is_logged = False
    """True if the log of a command has reported it, so that it is not printed again."""

    def __str__(self) -> str:
        return for_terminal(super().__str__())


class UserError(NPDError, ValueError):
    """Invalid input that the user can correct."""


class ConfigError(UserError):
    """A configuration file cannot be used."""


class PromptFileError(UserError):
    """A prompt file cannot be used."""


class PromptChoiceError(UserError):
    """The filters leave no prompt, or fewer than sample or weights require."""


class ModelError(UserError):
    """A model folder is missing, damaged or of an unsupported class."""


class EntryPointError(UserError):
    """A class that a configuration names by ``module:Class`` cannot be used."""


class CacheError(UserError):
    """The cache folder cannot be used: no room, no permission, no file locks."""


class ClusterError(UserError):
    """A Ray cluster cannot be used: wrong address or token, or other versions on its machines."""


class PlanConflictError(UserError):
    """The output already holds another plan."""


class BuildError(NPDError):
    """A build stopped before it was complete. The same command resumes it."""


class BuildStoppedError(BuildError):
    """A build stopped on request."""


class DeviceError(NPDError):
    """An accelerator failed. Later results of the same process cannot be trusted."""


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Memory of an accelerator at the time of an out-of-memory error, in bytes."""

    total: int
    free: int
    allocated: int
    """Allocated to tensors of the failing process."""


class DeviceMemoryError(DeviceError):
    """A batch does not fit into the accelerator's memory.

    ``memory`` is None if the device does not report its memory.
    """

    def __init__(self, message: str, memory: DeviceMemory | None = None) -> None:
        super().__init__(message)
        self.memory = memory


class WorkerLeavingError(NPDError):
    """A worker that was asked to leave discarded a unit, which can be computed elsewhere."""


class VerificationError(NPDError):
    """Stored bytes differ from what their receipt or manifest promises."""


class StoreError(NPDError):
    """An object store refused or failed a call."""

    has_begun = False
    """True if the command had read from the store before, so that its place was right."""


@contextmanager
def work_has_begun() -> Iterator[None]:
    """Mark a ``StoreError`` of the block as one that ends work that has begun."""
    try:
        yield
    except StoreError as error:
        error.has_begun = True
        raise


class ObjectNotFoundError(StoreError):
    """The key does not exist."""


class RetryableStoreError(StoreError):
    """The call may succeed if it is repeated."""


class PermanentStoreError(StoreError):
    """The call will fail again if it is repeated."""


class AccessDeniedError(PermanentStoreError):
    """The store does not allow the call with these credentials.

    S3 returns the same error for a missing object if the credentials may not list the bucket.
    """


class StoreFullError(PermanentStoreError):
    """The store has no room for the object. What it holds is complete."""
