"""State of the machines in the Ray cluster. ``draining_nodes`` uses a private Ray call."""

import ray
from ray._private.state import state


def draining_nodes() -> set[str]:
    """Return the ids of machines that will stop, after a spot notice or a scale-down.

    Ray 2.60 has no public call for this.
    """
    return set(state.get_draining_nodes())


def living_nodes() -> set[str]:
    """Return the ids of the machines that Ray reports as alive."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def free_resources() -> dict[str, float]:
    """Return the currently free amount of each resource, such as CPU and GPU."""
    return dict(ray.available_resources())
