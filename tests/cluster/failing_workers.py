"""Stand-in workers that raise errors without ending their process."""

from pipeline.errors import DeviceError, DeviceMemoryError, ModelError, PermanentStoreError
from tests.cluster.stand_ins import Worker


class FailsOnce(Worker):
    """The first attempt at every third unit fails."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit % 3 == 0 and attempt == 1:
            raise RuntimeError("out of luck")


class FailsAtUnit9(Worker):
    """Every attempt and every probe of unit 9 fails."""

    def compute_candidates(self, unit: int, live: set[int]) -> None:
        if unit == 9:
            raise ArithmeticError("unit 9 has no solution")


class OutOfMemory(Worker):
    """Unit 3 never fits into the memory of the GPU."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3:
            raise DeviceMemoryError("batches of 4 candidates do not fit: lower [units] batch_size")


class GpuFailsOnce(Worker):
    """The GPU fails in the first attempt at unit 3, and all later work of the process fails."""

    _failed = False

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3 and attempt == 1:
            self._failed = True
        if self._failed:
            raise DeviceError("cuda:0 failed: an illegal memory access was encountered")


class LosesItsBucket(Worker):
    """The bucket does not exist any more when unit 3 is committed."""

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3:
            raise PermanentStoreError("cannot put s3://b/k: NoSuchBucket")


class WithoutModel(Worker):
    """The model folder is missing."""

    def set_up(self) -> None:
        raise ModelError("/models/sd: no such model folder")


class WithBrokenModel(Worker):
    """Loading raises an unexpected error."""

    def set_up(self) -> None:
        raise ArithmeticError("division by zero in the loader")
