"""Stand-in workers that raise errors without ending their process."""

from pipeline.core.errors import (
    DeviceError,
    DeviceMemory,
    DeviceMemoryError,
    ModelError,
    PermanentStoreError,
)
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


OUT_OF_MEMORY = "batches of 4 candidates do not fit: lower [units] batch_size"

ALONE = DeviceMemory(total=80_000, free=30_000, allocated=49_000)
"""Memory of a GPU that the failing process had to itself."""

SHARED = DeviceMemory(total=80_000, free=1_000, allocated=30_000)
"""Memory of a GPU of which another process has more than half."""


class OutOfMemory(Worker):
    """Unit 3 never fits into the memory of the GPU, which another process uses too."""

    memory = SHARED

    def compute(self, unit: int, attempt: int) -> None:
        if unit == 3:
            raise DeviceMemoryError(OUT_OF_MEMORY, self.memory)


class OutOfMemoryAlone(OutOfMemory):
    """Unit 3 does not fit although the process has the GPU to itself."""

    memory = ALONE


class OutOfMemoryAlways(Worker):
    """No unit fits into the memory of the GPU."""

    def compute(self, unit: int, attempt: int) -> None:
        raise DeviceMemoryError(OUT_OF_MEMORY)


class OutOfMemoryLoading(Worker):
    """The models do not fit into the memory of the GPU."""

    def set_up(self) -> None:
        raise DeviceMemoryError(OUT_OF_MEMORY, ALONE)


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
