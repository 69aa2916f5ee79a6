"""Descriptions of all machines of a Ray cluster, each made by a task on that machine."""

from dataclasses import dataclass

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster.machine import Machine, describe_machine
from pipeline.cluster.ray_session import node_addresses
from pipeline.config.sections import Config
from pipeline.costs.plan_costs import missing_models

_ANSWER_S = 20.0
"""Seconds for all machines together. A worker process imports torch, which takes seconds."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of a cluster."""

    address: str
    """IP address."""
    machine: Machine | None
    """None if it did not answer."""
    missing_models: tuple[str, ...] = ()
    """Messages about model files that it lacks."""
    error: str = ""
    """Why it did not answer; empty if it did."""


def describe_nodes(config: Config | None) -> list[Node]:
    """Return the description of each living machine of the connected cluster.

    With a configuration, each machine also looks for its models.
    """
    # Without CPUs, so that it runs on a machine that is busy with a build.
    task = ray.remote(num_cpus=0, max_retries=0)(_describe)
    calls = {
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
        ).remote(config): address
        for node_id, address in node_addresses().items()
    }
    done, late = ray.wait([*calls], num_returns=len(calls), timeout=_ANSWER_S)
    found = [_result(calls[call], call) for call in done]
    for call in late:
        ray.cancel(call, force=True)
        error = f"no answer for {_ANSWER_S:.0f} s"
        found.append(Node(address=calls[call], machine=None, error=error))
    return sorted(found, key=lambda node: node.address)


def _describe(config: Config | None) -> tuple[Machine, tuple[str, ...]]:
    missing = () if config is None else tuple(map(str, missing_models(config)))
    return describe_machine(), missing


def _result(address: str, call: "ray.ObjectRef[tuple[Machine, tuple[str, ...]]]") -> Node:
    try:
        machine, missing = ray.get(call)
    # Also if this package is not installed there.
    except RayError as error:
        last_line = str(error).strip().splitlines()[-1]
        return Node(address=address, machine=None, error=last_line)
    return Node(address=address, machine=machine, missing_models=missing)
