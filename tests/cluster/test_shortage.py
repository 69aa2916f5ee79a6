"""Messages while no worker starts."""

import pytest

from pipeline.cluster.shortage import describe_shortage
from pipeline.config.sections import ClusterConfig


@pytest.mark.parametrize(
    ("gpus", "cpus", "free", "total", "text"),
    [
        (1.0, 1.0, {"CPU": 6.0}, {"CPU": 8.0, "GPU": 4.0}, "0 of 4 GPUs free and 6 of 8 CPUs free"),
        (1.0, 1.0, {"CPU": 6.0}, {"CPU": 8.0}, "no GPU and 6 of 8 CPUs free"),
        (0.0, 2.0, {"CPU": 1.0}, {"CPU": 1.0}, "1 of 1 CPU free"),
    ],
)
def test_shortage_names_what_is_asked_for_and_what_is_free(
    gpus: float, cpus: float, free: dict[str, float], total: dict[str, float], text: str
) -> None:
    config = ClusterConfig(workers=2, gpus_per_worker=gpus, cpus_per_worker=cpus)
    message = describe_shortage(config, free, total)
    assert message.endswith(f"; the cluster has {text}")
    asked = "each asks for 1 GPU and 1 CPU" if gpus else "each asks for 2 CPUs"
    assert message.startswith(f"no worker has started: {asked};")
