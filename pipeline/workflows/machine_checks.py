"""Checks of machines: versions, GPUs, memory, disks, limits, and their equality in a cluster."""

import os
from collections.abc import Iterator, Sequence

from pipeline.cluster.machine import Machine
from pipeline.cluster.node_checks import Node
from pipeline.config.sections import ClusterConfig, Config
from pipeline.core.finding import Finding, ok, problem, warning
from pipeline.core.quantities import counted, human_bytes

_SHARED_MEMORY_BYTES = 1_000_000_000
"""Size of /dev/shm below which Ray's object store and large samples in it have little room."""
_SHARED_MEMORY_LEAST = 100_000_000
"""Size that Ray's object store has in a build on one machine."""

_DISK_WARNING_BYTES, _DISK_PROBLEM_BYTES = 20_000_000_000, 1_000_000_000
"""Free space that the cache of shards takes by default, and that Ray's logs need."""

_OPEN_FILES = 4096
"""Open files that a Ray head needs with some dozens of workers."""

_WEIGHTS_SHARE = 0.7
"""Share of a GPU's memory above which weights leave little for activations."""


def check_machine(machine: Machine) -> Iterator[Finding]:
    """Check the software and the resources of one machine."""
    names = ("torch", "ray", "diffusers", "transformers")
    found = ", ".join(f"{name} {machine.packages.get(name, 'missing')}" for name in names)
    if machine.unmet:
        yield problem(
            "versions",
            "; ".join(machine.unmet),
            "install this package again: pip install --upgrade noise-prompt-dataset",
        )
    else:
        yield ok("versions", f"python {machine.python}, {found}")
    memory = human_bytes(machine.memory_bytes)
    yield ok("processor", f"{counted(machine.cpus, 'CPU')}, {memory} of memory")
    yield _shared_memory(machine.shared_memory_bytes)
    for disk in machine.disks:
        text = f"{disk.folder}: {human_bytes(disk.free_bytes)} free"
        remedy = "free some space, or set the variable to another disk"
        if not disk.is_writable:
            yield problem(disk.use, f"{disk.folder} cannot be written", "set the variable")
        elif disk.free_bytes < _DISK_PROBLEM_BYTES:
            yield problem(disk.use, text, remedy)
        elif disk.free_bytes < _DISK_WARNING_BYTES:
            yield warning(disk.use, text, remedy)
        else:
            yield ok(disk.use, text)
    if machine.max_open_files < _OPEN_FILES:
        text = f"at most {machine.max_open_files}"
        yield warning("open files", text, f"raise the limit: ulimit -n {_OPEN_FILES} or more")
    else:
        yield ok("open files", f"up to {machine.max_open_files}")


def check_gpus(machine: Machine, config: Config | None, weight_bytes: int | None) -> Finding:
    """Check the GPUs of a machine against a configuration and the size of its weights."""
    wanted = 0.0 if config is None else config.cluster.gpus_per_worker
    if machine.gpu_error:
        return problem("GPU", machine.gpu_error, "reinstall the driver, or restart the machine")
    if not machine.gpus:
        return _without_gpu(machine, wanted)
    smallest = min(machine.gpus, key=lambda gpu: gpu.free_bytes)
    text = (
        f"{len(machine.gpus)} × {smallest.name}, at least {human_bytes(smallest.free_bytes)} of "
        f"{human_bytes(smallest.total_bytes)} free (CUDA {machine.cuda})"
    )
    if config is not None and not wanted:
        remedy = "set gpus_per_worker in [cluster] to 1 to use them"
        return warning("GPU", f"{text}; the configuration computes on CPUs", remedy)
    if weight_bytes is not None and config is not None and config.cluster.cpu_offload == "none":
        text += f"; the weights have {human_bytes(weight_bytes)} as files"
        # Files may hold another type than the one that is loaded, so this is no proof.
        if weight_bytes > _WEIGHTS_SHARE * smallest.free_bytes:
            remedy = 'use a larger GPU, another dtype in [model], or cpu_offload = "model"'
            return warning("GPU", text, remedy)
    return ok("GPU", text)


def _without_gpu(machine: Machine, wanted: float) -> Finding:
    if machine.has_nvidia_device and machine.cuda is None:
        remedy = "install a build of torch with CUDA: https://pytorch.org/get-started"
        return warning("GPU", "torch is built without CUDA and cannot use the GPU", remedy)
    if wanted:
        text = f"none on this machine, and the configuration asks for {wanted:g} per worker"
        return warning("GPU", text, "use a cluster with GPUs (--address), or gpus_per_worker = 0")
    return ok("GPU", "none; builds compute on the CPU")


def _shared_memory(size: int | None) -> Finding:
    if size is None:
        return warning("/dev/shm", "does not exist", "mount a tmpfs there")
    text = human_bytes(size)
    remedy = "docker run --shm-size 2g, or a volume emptyDir with medium Memory in Kubernetes"
    if size < _SHARED_MEMORY_LEAST:
        return problem("/dev/shm", text, remedy)
    return (
        warning("/dev/shm", text, remedy) if size < _SHARED_MEMORY_BYTES else ok("/dev/shm", text)
    )


def check_proxies() -> Iterator[Finding]:
    """Report the proxies of the environment, without their credentials."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        if os.environ.get(name) or os.environ.get(name.lower()):
            bypassed = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "nothing"
            text = f"requests go through the proxy of {name}, except to {bypassed}"
            yield ok("proxy", text)


def check_nodes(here: Machine, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Check that the machines of a cluster answer, have the models and equal software."""
    machines = [node.machine for node in nodes if node.machine is not None]
    gpus = sum(len(machine.gpus) for machine in machines)
    yield ok("machines", f"{len(machines)} of {len(nodes)} answer, with {counted(gpus, 'GPU')}")
    for node in nodes:
        if node.machine is None:
            remedy = "install this package there, in the version of this machine"
            yield problem(f"machine {node.address}", node.error, remedy)
            continue
        differ = list(_differences(here, node.machine))
        if differ:
            yield problem(
                f"machine {node.address}",
                f"other versions than here: {', '.join(differ)}",
                "use one image or one environment on all machines",
            )
        for message in node.missing_models:
            yield problem(f"models on {node.address}", message)
        for finding in check_machine(node.machine):
            if finding.remedy and node.machine.host != here.host:
                yield Finding(
                    check=f"{finding.check} on {node.address}",
                    level=finding.level,
                    found=finding.found,
                    remedy=finding.remedy,
                )


def check_room(config: ClusterConfig, resources: dict[str, float]) -> Finding:
    """Check whether a cluster with these resources can run all configured workers."""
    wanted = {
        "GPU": config.workers * config.gpus_per_worker,
        "CPU": config.workers * config.cpus_per_worker,
    }
    short = [
        f"{amount:g} {name}s, and the cluster has {resources.get(name, 0.0):g}"
        for name, amount in wanted.items()
        if amount > resources.get(name, 0.0)
    ]
    if not short:
        return ok("room for workers", f"room for {counted(config.workers, 'worker')}")
    return warning(
        "room for workers",
        f"{counted(config.workers, 'worker')} together need {' and '.join(short)}",
        "the others wait until the cluster grows; lower workers in [cluster] or add machines",
    )


def _differences(here: Machine, there: Machine) -> Iterator[str]:
    if there.python != here.python:
        yield f"python {there.python}"
    for name in sorted(here.packages | there.packages):
        if here.packages.get(name) != there.packages.get(name):
            yield f"{name} {there.packages.get(name, 'missing')}"
