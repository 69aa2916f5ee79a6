"""The driver with hundreds of workers, whose Ray is simulated in this process."""

from benchmarks.simulated_ray import Rates, SimulatedRay
from pipeline.cluster.driver import Driver
from pipeline.config.sections import ClusterConfig
from pipeline.monitor.progress import BuildProgress

HANG_S = 2.0
UNITS = 6_000


def test_driver_of_many_fast_workers_takes_none_for_hung() -> None:
    """Calls end faster than they are handled, and health checks are read all the same."""
    rates = Rates(fails=0.01, slow=0.0, dies=0.001, joins_late=0.1)
    simulated = SimulatedRay(rates, unit_seconds=0.001, load_seconds=1.2, late_seconds=0.5)
    config = ClusterConfig(workers=300, hang_seconds=HANG_S)
    progress = BuildProgress(total=UNITS)
    with simulated.in_place_of_ray():
        driver = Driver(simulated.spawn, config, unit_size=lambda unit: 8, progress=progress)
        done = sorted(summary.unit for summary in driver.run(range(UNITS)))
    assert done == list(range(UNITS))
    assert progress.failed_attempts["RuntimeError"] > 10
    assert progress.replaced["died"] and "hung" not in progress.replaced
