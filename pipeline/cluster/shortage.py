"""Resources that waiting workers ask for, compared with those of the cluster."""

from collections.abc import Iterator, Mapping

from pipeline.config.sections import ClusterConfig


def describe_shortage(
    config: ClusterConfig, free: Mapping[str, float], total: Mapping[str, float]
) -> str:
    """Return why no worker starts, from the free and the total resources of the cluster."""
    asked = [
        _amount(amount, unit)
        for unit, amount in (("GPU", config.gpus_per_worker), ("CPU", config.cpus_per_worker))
        if amount
    ]
    return (
        f"no worker has started: each asks for {' and '.join(asked)}; "
        f"the cluster has {' and '.join(_offered(config, free, total))}"
    )


def _offered(
    config: ClusterConfig, free: Mapping[str, float], total: Mapping[str, float]
) -> Iterator[str]:
    for unit, amount in (("GPU", config.gpus_per_worker), ("CPU", config.cpus_per_worker)):
        if not amount:
            continue
        if not total.get(unit):
            yield f"no {unit}"
        else:
            yield f"{free.get(unit, 0.0):g} of {_amount(total[unit], unit)} free"


def _amount(count: float, unit: str) -> str:
    return f"{count:g} {unit}{'' if count == 1 else 's'}"
