"""What Ray knows of its machines. One function stands on a private call."""

import ray
from ray._private.state import state


def draining_nodes() -> set[str]:
    """Ids of the machines that are about to go: a spot notice, or the autoscaler scaling down.

    Ray 2.60 has no public call for it.
    """
    return set(state.get_draining_nodes())


def living_nodes() -> set[str]:
    """Ids of the machines that answer."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def free_resources() -> dict[str, float]:
    """What the cluster has to give at the moment, by name."""
    return dict(ray.available_resources())
