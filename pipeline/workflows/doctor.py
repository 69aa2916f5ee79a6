"""Checks of machine, configuration, store and cluster before a build (``npd doctor``)."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

from pipeline.cluster.machine import Machine, describe_machine
from pipeline.cluster.node_checks import describe_nodes
from pipeline.cluster.ray_session import free_resources, ray_session
from pipeline.config.file import load_config
from pipeline.config.notify import NotifyConfig, is_web_url
from pipeline.config.sections import ClusterConfig, Config
from pipeline.core.errors import ModelError, NPDError
from pipeline.core.finding import Finding, ok, problem, warning
from pipeline.core.quantities import human_bytes
from pipeline.core.weight_files import WeightSizes
from pipeline.costs.plan_costs import missing_models
from pipeline.models.resolved_models import ResolvedModels
from pipeline.storage.open import open_store
from pipeline.storage.store_checks import check_store
from pipeline.workflows.machine_checks import (
    check_gpus,
    check_machine,
    check_nodes,
    check_proxies,
    check_room,
)

_STORE_S = 25.0
"""Seconds after which the checks of the store are given up."""


def examine(config_name: str | None, out: str | None, address: str | None) -> Iterator[Finding]:
    """Check everything that is named, and this machine. Yield the findings as they are made.

    ``config_name`` is a configuration, ``out`` the URL of a store, ``address`` that of a Ray
    cluster; RAY_ADDRESS counts too.
    """
    # The store answers while this machine is examined, which takes as long.
    store = None if out is None else _Background("store", lambda: check_store(open_store(out)))
    here = describe_machine()
    yield from check_machine(here)
    yield from check_proxies()
    config, found = _load(config_name)
    yield from found
    weight_bytes = None
    if config is not None:
        yield from _check_webhook(config.notify)
        weight_bytes, found = _check_models(config)
        yield from found
    yield check_gpus(here, config, weight_bytes)
    if store is not None:
        yield from store.findings()
    yield from _check_cluster(here, config, address)


def _load(name: str | None) -> tuple[Config | None, list[Finding]]:
    if name is None:
        return None, []
    try:
        config = load_config(name)
    except NPDError as error:
        return None, [problem("configuration", str(error))]
    return config, [ok("configuration", f"{name} is valid")]


def _check_webhook(config: NotifyConfig) -> Iterator[Finding]:
    if config.url_env is not None and not is_web_url(os.environ.get(config.url_env, "")):
        yield warning(
            "notifications",
            f"the variable {config.url_env} holds no URL, so nothing will be sent",
            "set it where the driver runs",
        )


def _check_models(config: Config) -> tuple[int | None, list[Finding]]:
    """Return the bytes of the weights, or None, and the findings about model files."""
    missing = missing_models(config)
    if missing:
        return None, [problem("models", str(error)) for error in missing]
    models = ResolvedModels(config)
    try:
        files = [*_weights(models.model.files), *_weights([models.model.checkpoint])]
        for reward in models.rewards:
            place = None if reward.files is None else reward.files.place
            files += _weights([place] if place is None or place.is_file() else place.rglob("*"))
        for lora in models.model.loras:
            files += _weights([lora.place] if lora.place.is_file() else lora.place.rglob("*"))
        files += _weights([] if models.model.decoder is None else models.model.decoder.files)
        # Reads the headers, which state the sizes. Complete digests take minutes.
        WeightSizes.of_files(files)
        size = sum(path.stat().st_size for path in files)
    except (ModelError, OSError) as error:
        return None, [problem("models", str(error))]
    found = f"{len(files)} weight files with {human_bytes(size)}, none of them cut off"
    return size, [ok("models", found)]


def _weights(paths: Iterable[Path | None]) -> list[Path]:
    return [path for path in paths if path is not None and path.suffix == ".safetensors"]


def _check_cluster(here: Machine, config: Config | None, address: str | None) -> Iterator[Finding]:
    if not (address or os.environ.get("RAY_ADDRESS")):
        yield ok("Ray", "no cluster is named; a build starts Ray on this machine")
        return
    cluster = ClusterConfig() if config is None else config.cluster
    try:
        with ray_session(cluster, address):
            yield ok("Ray", f"the cluster at {address or os.environ['RAY_ADDRESS']} answers")
            yield from check_nodes(here, describe_nodes(config))
            if config is not None:
                yield check_room(cluster, free_resources())
    except NPDError as error:
        yield problem("Ray", str(error))


class _Background:
    """Checks in a thread, which is given up after a time: nothing else ends a call that hangs."""

    def __init__(self, name: str, check: Callable[[], Iterable[Finding]]) -> None:
        self._name, self._check = name, check
        self._queue: SimpleQueue[Finding | None] = SimpleQueue()
        self._deadline = monotonic() + _STORE_S
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            for finding in self._check():
                self._queue.put(finding)
        except NPDError as error:
            self._queue.put(problem(self._name, str(error)))
        finally:
            self._queue.put(None)

    def findings(self) -> Iterator[Finding]:
        """Yield the findings as they arrive."""
        try:
            while found := self._queue.get(timeout=max(0, self._deadline - monotonic())):
                yield found
        except Empty:
            remedy = "check AWS_ENDPOINT_URL, the network and the proxy"
            yield problem(self._name, f"no answer within {_STORE_S:.0f} s", remedy)
