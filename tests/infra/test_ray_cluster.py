"""The file for ``ray up``, checked by Ray's loader and without calls to Amazon."""

from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.infra.files import INFRA

PATH = INFRA / "ray-cluster" / "aws.yaml"


@pytest.fixture
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    return loaded


def _load(cluster: dict[str, Any]) -> dict[str, Any]:
    """Load the file as ``ray up`` does before its first call to Amazon."""
    prepared: dict[str, Any] = prepare_config(cluster)
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_cluster_and_adds_no_default_set_up(cluster: dict[str, Any]) -> None:
    prepared = _load(cluster)
    assert prepared["available_node_types"]["gpu"]["max_workers"] == 8
    assert prepared["available_node_types"]["head"]["max_workers"] == 0
    for name in ("head_setup_commands", "worker_setup_commands"):
        assert prepared[name] == [], "the defaults would fetch a nightly Ray"
    commands = prepared["head_start_ray_commands"] + prepared["worker_start_ray_commands"]
    assert commands == cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [("max_wokers", 8), ("max_workers", "eight"), ("available_node_type", {}), ("docker", "npd")],
)
def test_ray_rejects_a_misspelt_or_mistyped_field(
    cluster: dict[str, Any], key: str, wrong: object
) -> None:
    cluster[key] = wrong
    with pytest.raises((jsonschema.ValidationError, AttributeError, TypeError, ValueError)):
        _load(cluster)


def test_ray_rejects_a_misspelt_field_of_a_node_type(cluster: dict[str, Any]) -> None:
    gpu = cluster["available_node_types"]["gpu"]
    gpu["min_worker"] = gpu.pop("min_workers")
    with pytest.raises(jsonschema.ValidationError, match="min_worker"):
        _load(cluster)


def test_node_fields_are_those_of_the_call_that_starts_machines(cluster: dict[str, Any]) -> None:
    """Ray passes ``node_config`` to EC2 without a check, so botocore's model checks it here."""
    for node in cluster["available_node_types"].values():
        assert _unknown_to_ec2(node["node_config"]) == set()
    assert _unknown_to_ec2({"InstanceTyp": "m7i.xlarge"}) == {"InstanceTyp"}


def _unknown_to_ec2(node_config: dict[str, Any]) -> set[str]:
    from botocore.model import StructureShape
    from botocore.session import get_session

    run_instances = get_session().get_service_model("ec2").operation_model("RunInstances")
    assert isinstance(run_instances.input_shape, StructureShape)
    return set(node_config) - set(run_instances.input_shape.members)


def test_workers_are_spot_and_the_dashboard_is_closed(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types[cluster["head_node_type"]]["node_config"]
    (head_start,) = (line for line in cluster["head_start_ray_commands"] if "--head" in line)
    assert "--dashboard-host=127.0.0.1" in head_start
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"]["/home/npd/.ray/auth_token"] == "~/.ray/auth_token"
