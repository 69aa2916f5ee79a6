"""Everything that can go wrong, in one tree.

    NPDError
    ├── UserError                  the person at the keyboard can mend it (also a ValueError)
    │   ├── ConfigError            a configuration file: key, line, nearest valid key
    │   ├── PromptFileError        a prompt file: file, line
    │   ├── PromptChoiceError      prompts that cannot be had: filters, sample, weights
    │   ├── ModelError             a model folder that is missing, damaged or unsupported
    │   ├── EntryPointError        a class of the user's own that is missing or does not fit
    │   ├── CacheError             a cache folder that cannot be written, or has no room
    │   └── PlanConflictError      the output already holds another plan
    ├── BuildError                 a unit failed too often; what is committed stays committed
    │   └── BuildStoppedError      it was asked to stop
    ├── DeviceError                a GPU's fault, after which its process is of no use
    │   └── DeviceMemoryError      a batch does not fit: its size is part of the plan
    ├── WorkerLeavingError         a worker on its way out drops what it was doing; nobody's fault
    ├── VerificationError          what is stored is not what was promised
    └── StoreError
        ├── ObjectNotFoundError
        ├── RetryableStoreError    a time-out, a 503, a reset: the same call may succeed later
        └── PermanentStoreError    no bucket, no put-if-absent: it will not
            └── AccessDeniedError  these credentials may not do it

Retryable and permanent are two types because the driver treats them differently; nothing
parses messages. A message says what is wrong, where, and what to do about it.
"""


class NPDError(Exception):
    """Base of every error this package raises on purpose."""


class UserError(NPDError, ValueError):
    """Input that a person gave and can mend."""


class ConfigError(UserError):
    """A configuration file cannot be used."""


class PromptFileError(UserError):
    """A prompt file cannot be used."""


class PromptChoiceError(UserError):
    """The filters leave no prompt, or fewer than sample or weights ask for."""


class ModelError(UserError):
    """A model folder is missing, damaged or of an unsupported class."""


class EntryPointError(UserError):
    """A class that a configuration names by ``module:Class`` cannot be used."""


class CacheError(UserError):
    """The cache folder cannot be used: no room, no permission, no file locks."""


class PlanConflictError(UserError):
    """The output already holds a plan that is not this one."""


class BuildError(NPDError):
    """A build stopped before it was whole; running the same command again resumes it."""


class BuildStoppedError(BuildError):
    """A build was asked to stop, and did."""


class DeviceError(NPDError):
    """An accelerator failed; nothing that its process computes from here on can be trusted."""


class DeviceMemoryError(DeviceError):
    """A batch does not fit into the accelerator's memory."""


class WorkerLeavingError(NPDError):
    """A worker that was told to leave has dropped a unit, which is as it was before."""


class VerificationError(NPDError):
    """Stored bytes are not what their receipt or manifest promises."""


class StoreError(NPDError):
    """An object store refused or failed a call."""


class ObjectNotFoundError(StoreError):
    """The key does not exist."""


class RetryableStoreError(StoreError):
    """The call may succeed when it is repeated."""


class PermanentStoreError(StoreError):
    """The call will fail however often it is repeated."""


class AccessDeniedError(PermanentStoreError):
    """The store does not allow the call with these credentials.

    S3 also answers so for an object that does not exist, to those who may not list the bucket.
    """
