"""The RayJobs, against the schema of KubeRay and for the project's requirements."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import ray
import typer
from ray._private import ray_constants

from jobs import build as job
from pipeline.config.file import bundled_configs
from tests.infra.files import BUILD, of_kind, trial
from tests.infra.kubernetes import (
    containers,
    errors,
    literal_secrets,
    pod_templates,
    strict,
    strict_rayjob_schema,
)

DRAIN_TIMEOUT = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"

JOB_FIELDS = {
    *("submissionMode", "entrypoint", "backoffLimit"),
    *("shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"),
}
CLUSTER_FIELDS = {
    *("rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions"),
    *("headGroupSpec", "workerGroupSpecs"),
}
GROUP_FIELDS = {
    *("groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"),
}
"""Fields that the RayJobs use, for machines without KubeRay's definition."""

WRITABLE = {"/tmp", "/home/npd", "/dev/shm"}
"""Folders that a container may write to; ``test_read_only_root.py`` builds with no others."""


@pytest.fixture(params=["build", "trial"])
def rayjob(request: pytest.FixtureRequest) -> dict[str, Any]:
    return of_kind("RayJob", BUILD if request.param == "build" else trial())


@pytest.fixture
def gpu() -> dict[str, Any]:
    return of_kind("RayJob")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return strict_rayjob_schema()


def test_rayjob_satisfies_the_custom_resource_definition(
    rayjob: dict[str, Any], schema: dict[str, Any]
) -> None:
    assert errors(schema, rayjob) == []


@pytest.mark.parametrize(
    ("place", "key", "wrong", "message"),
    [
        ("", "backOffLimit", 5, "backOffLimit"),
        ("", "backoffLimit", "five", "is not of type 'integer'"),
        ("rayClusterSpec", "enableInTreeAutoscalling", True, "enableInTreeAutoscalling"),
        ("rayClusterSpec.authOptions", "mode", "password", "is not one of"),
        ("rayClusterSpec.headGroupSpec.template.spec", "tolerance", [], "tolerance"),
    ],
)
def test_misspelt_or_mistyped_field_is_rejected(
    gpu: dict[str, Any], schema: dict[str, Any], place: str, key: str, wrong: object, message: str
) -> None:
    target = gpu["spec"]
    for name in place.split(".") if place else []:
        target = target[name]
    target[key] = wrong
    (error,) = errors(schema, gpu)
    assert message in error


def test_strict_schema_rejects_unknown_fields_and_accepts_quantities() -> None:
    quantity = {"x-kubernetes-int-or-string": True}
    open_object = {"type": "object", "properties": {"a": quantity}}
    kept = {**open_object, "x-kubernetes-preserve-unknown-fields": True}
    assert errors(strict(open_object), {"a": 1}) == []
    assert errors(strict(open_object), {"a": "1Gi"}) == []
    assert errors(strict(open_object), {"a": 1.5})
    assert errors(strict(open_object), {"b": 1})
    assert errors(strict(kept), {"b": 1}) == []


def _unknown_fields(rayjob: dict[str, Any]) -> set[str]:
    cluster = rayjob["spec"]["rayClusterSpec"]
    groups = {field for group in cluster["workerGroupSpecs"] for field in group}
    groups |= set(cluster["headGroupSpec"])
    return (
        (set(rayjob["spec"]) - JOB_FIELDS) | (set(cluster) - CLUSTER_FIELDS) | groups - GROUP_FIELDS
    )


def test_rayjob_uses_only_known_fields(rayjob: dict[str, Any]) -> None:
    assert _unknown_fields(rayjob) == set()
    cluster = rayjob["spec"]["rayClusterSpec"]
    cluster["enableInTreeAutoscalling"] = cluster.pop("enableInTreeAutoscaling")
    cluster["workerGroupSpecs"][0]["maxReplica"] = 8
    assert _unknown_fields(rayjob) == {"enableInTreeAutoscalling", "maxReplica"}


def test_every_mount_is_a_volume_of_the_pod(rayjob: dict[str, Any]) -> None:
    for template in pod_templates(rayjob).values():
        volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
        for container in template["spec"]["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes


def test_rayjob_cleans_up_retries_and_requires_the_token(rayjob: dict[str, Any]) -> None:
    spec = rayjob["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["backoffLimit"] >= 1
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["enableInTreeAutoscaling"] is True
    (group,) = cluster["workerGroupSpecs"]
    assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert group["minReplicas"] < group["maxReplicas"]


def test_rayjob_outlives_lost_connections_and_a_lost_head(rayjob: dict[str, Any]) -> None:
    spec = rayjob["spec"]
    assert spec["submissionMode"] == "HTTPMode", "else a broken log stream ends the job"
    assert "submitterPodTemplate" not in spec
    cluster = spec["rayClusterSpec"]
    # A head that remembers the job reports it as failed; one that does not is sent it again.
    assert "gcsFaultToleranceOptions" not in cluster
    assert cluster["autoscalerOptions"]["version"] == "v1", "v2 forbids the head to restart"
    head, workers = pod_templates(rayjob).values()
    assert head["spec"]["restartPolicy"] == "Always"
    assert workers["spec"]["restartPolicy"] == "Never"


def test_gpu_rayjob_runs_on_spot(gpu: dict[str, Any]) -> None:
    worker = pod_templates(gpu)["workers"]["spec"]
    assert worker["terminationGracePeriodSeconds"] >= 120
    drain = {each["name"]: each["value"] for each in worker["containers"][0]["env"]}
    assert hasattr(ray_constants, DRAIN_TIMEOUT), "Ray has renamed this variable"
    assert 60 <= float(drain[DRAIN_TIMEOUT]) < worker["terminationGracePeriodSeconds"]
    assert "spot" in worker["nodeSelector"].values()
    assert {each["key"] for each in worker["tolerations"]} >= {*worker["nodeSelector"]}
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    head = pod_templates(gpu)["head"]["spec"]
    assert "spot" not in head["nodeSelector"].values()


def test_every_container_is_restricted_and_none_runs_as_root(rayjob: dict[str, Any]) -> None:
    for template in pod_templates(rayjob).values():
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    sidecar = rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]
    for container in (*containers(rayjob), sidecar):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = container["volumeMounts"]
        writable = {each["mountPath"] for each in mounts if not each.get("readOnly")}
        assert writable == WRITABLE if container is not sidecar else writable < WRITABLE
    for container in containers(rayjob):
        assert set(container["resources"]) == {"requests", "limits"}


def test_secrets_are_references(rayjob: dict[str, Any]) -> None:
    assert literal_secrets(rayjob) == []
    storage = [container["envFrom"] for container in containers(rayjob)]
    assert len(storage) == 2
    assert all(each[0]["secretRef"]["name"] == "npd-storage" for each in storage)


def test_literal_secret_is_found(gpu: dict[str, Any]) -> None:
    options = {"redisPassword": {"value": "x"}}
    gpu["spec"]["rayClusterSpec"] = {
        "gcsFaultToleranceOptions": options,
        **gpu["spec"]["rayClusterSpec"],
    }
    head = pod_templates(gpu)["head"]["spec"]["containers"][0]
    head["env"] = [{"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}]
    cluster = "spec.rayClusterSpec"
    assert literal_secrets(gpu) == [
        f"{cluster}.gcsFaultToleranceOptions.redisPassword.value",
        f"{cluster}.headGroupSpec.template.spec.containers[0].env[0].value",
    ]


def test_entrypoint_is_a_valid_command_of_the_job(rayjob: dict[str, Any]) -> None:
    words = shlex.split(rayjob["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "jobs.build"]
    command = typer.main.get_command(job.app)
    given = command.make_context("job", words[3:]).params
    assert given["out"].startswith("s3://")
    mounts = {m["mountPath"] for c in containers(rayjob) for m in c.get("volumeMounts", [])}
    assert given["config"] in bundled_configs() or str(Path(given["config"]).parent) in mounts
