"""The driver when a GPU runs out of memory or fails."""

from pathlib import Path

import pytest

from pipeline.core.errors import BuildError
from tests.cluster import failing_workers, stand_ins
from tests.cluster.driving import Spawn, nothing_is_late, run_units, unit_numbers

__all__ = ["nothing_is_late"]

pytestmark = pytest.mark.usefixtures("ray_cluster", "nothing_is_late")


def test_driver_gpu_out_of_memory_stops_with_the_setting_to_change(tmp_path: Path) -> None:
    """Other units fit and the GPU is shared, so the unit is tried once more."""
    spawn = Spawn(failing_workers.OutOfMemory, tmp_path)
    with pytest.raises(BuildError, match=r"(?s)unit 3 failed 2 times.*lower \[units\] batch_size"):
        list(run_units(spawn, range(6), workers=1, max_attempts=3))
    assert len(stand_ins.attempts(tmp_path, 3)) == 2
    assert stand_ins.probes(tmp_path, 3) == [], "no candidate is to blame, and nothing is halved"
    assert len(spawn.actors) >= 2, "the second attempt runs in another process"


@pytest.mark.parametrize(
    "kind", [failing_workers.OutOfMemoryAlone, failing_workers.OutOfMemoryAlways]
)
def test_driver_certain_out_of_memory_stops_the_build_at_once(
    tmp_path: Path, kind: type[stand_ins.Worker]
) -> None:
    spawn = Spawn(kind, tmp_path)
    with pytest.raises(BuildError, match=r"(?s)does not fit into the memory.*batch_size"):
        list(run_units(spawn, range(6), workers=1))
    assert all(len(stand_ins.attempts(tmp_path, unit)) <= 1 for unit in range(6))
    assert len(spawn.actors) == 1, "no other process loads the models"


def test_driver_models_that_exceed_the_gpu_stop_the_build_at_once(tmp_path: Path) -> None:
    spawn = Spawn(failing_workers.OutOfMemoryLoading, tmp_path)
    with pytest.raises(BuildError, match=r"could not load its models: .*batch_size"):
        list(run_units(spawn, range(6), workers=1))
    assert len(spawn.actors) == 1


def test_driver_gpu_that_failed_costs_its_process_and_no_unit(tmp_path: Path) -> None:
    spawn = Spawn(failing_workers.GpuFailsOnce, tmp_path)
    assert unit_numbers(run_units(spawn, range(20))) == list(range(20))
    assert len(spawn.actors) == 3
    assert stand_ins.failing_candidates(tmp_path, 3) == {}
