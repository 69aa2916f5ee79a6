"""Stand-ins whose process lives and raises errors."""

from pipeline.errors import DeviceError, DeviceMemoryError, ModelError, PermanentStoreError
from tests.cluster.stand_ins import Worker


class FailsOnce(Worker):
    """The first attempt at every third unit fails."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit % 3 == 0 and attempt == 1:
            raise RuntimeError("out of luck")


class FailsAtUnit9(Worker):
    """Nothing that is tried of unit 9 succeeds."""

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        if unit == 9:
            raise ArithmeticError("unit 9 has no solution")


class OutOfMemory(Worker):
    """The GPU never holds unit 3."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3:
            raise DeviceMemoryError("batches of 4 candidates do not fit: lower [units] batch_size")


class GpuFailsOnce(Worker):
    """At the first attempt at unit 3 the GPU fails, and with it all that this process does."""

    _failed = False

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            self._failed = True
        if self._failed:
            raise DeviceError("cuda:0 failed: an illegal memory access was encountered")


class LosesItsBucket(Worker):
    """The store is gone for good when unit 3 wants it."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3:
            raise PermanentStoreError("cannot put s3://b/k: NoSuchBucket")


class WithoutModel(Worker):
    """A person has to put the model there."""

    def set_up(self) -> None:
        raise ModelError("/models/sd: no such model folder")


class WithBrokenModel(Worker):
    """Loading fails in a way that nobody foresaw."""

    def set_up(self) -> None:
        raise ArithmeticError("division by zero in the loader")
