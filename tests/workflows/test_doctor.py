"""``npd doctor`` against real stores, models and machines in good and in bad condition."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.storage.seaweedfs import SeaweedFS
from pipeline.cli.app import app
from pipeline.cluster.machine import Disk, Gpu, Machine, describe_machine
from pipeline.cluster.node_checks import Node, describe_nodes
from pipeline.config.file import BUNDLED, load_config
from pipeline.core.finding import Finding, Level
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.store_checks import check_clock, check_store
from pipeline.workflows.machine_checks import check_gpus, check_machine, check_nodes, check_room
from tests.cli.test_json_output import check_keys
from tests.conftest import BUCKET
from tests.infra.iam import Policy
from tests.infra.identities import acting_as, add_identities
from tests.sealed import SETTINGS, changed, write_config

GB = 10**9


@pytest.fixture(scope="module")
def here() -> Machine:
    """This machine."""
    return describe_machine()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore what the command sets in the environment of its process."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")


def _problems(findings: Iterator[Finding] | list[Finding]) -> dict[str, str]:
    """Map each check with a problem to what was found."""
    return {each.check: each.found for each in findings if each.level is Level.PROBLEM}


def _npd(*arguments: object) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["doctor", *map(str, arguments)], catch_exceptions=False)
    return ended.exit_code, ended.stdout


@pytest.mark.usefixtures("environment")
def test_machine_configuration_and_store_that_are_ready(tmp_path: Path) -> None:
    code, shown = _npd("demo", "--out", tmp_path / "set", "--json")
    found = json.loads(shown)
    check_keys("doctor", found)
    assert code == 0 and found["is_ready"], shown
    checks = [each["check"] for each in found["findings"]]
    assert {"versions", "models", "GPU", "conditional writes", "throughput", "Ray"} <= {*checks}


@pytest.mark.usefixtures("environment")
def test_nothing_configured_checks_the_machine_alone() -> None:
    code, shown = _npd()
    assert code == 0 and "no cluster is named" in shown and "conditional" not in shown


def test_store_that_is_ready_is_left_as_it_was(store: ObjectStore) -> None:
    store.put("mine", b"x")
    found = list(check_store(store))
    assert _problems(found) == {}
    assert {"latency", "throughput"} <= {each.check for each in found}
    assert [info.key for info in store.list("")] == ["mine"]


@pytest.mark.usefixtures("s3_env")
def test_bucket_that_does_not_exist() -> None:
    assert "NoSuchBucket" in _problems(check_store(open_store("s3://absent-bucket/npd")))["store"]


@pytest.mark.usefixtures("s3_env")
def test_wrong_credentials_are_reported_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-0123456789")
    found = _problems(check_store(open_store(f"s3://{BUCKET}/npd")))["store"]
    assert "the secret does not fit the access key" in found and "0123456789" not in found


def test_bucket_that_may_only_be_read(s3_server: SeaweedFS, s3_env: None) -> None:
    allowed = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
    }
    policy: Policy = {"Version": "2012-10-17", "Statement": [allowed]}
    identities = add_identities(s3_server, {"doctor": [policy]})
    with acting_as(identities["doctor"]):
        found = _problems(check_store(open_store(f"s3://{BUCKET}/npd")))
    assert "AccessDenied" in found["writing to the store"]


@pytest.mark.usefixtures("s3_env", "environment")
def test_store_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        code, shown = _npd("--out", f"s3://{BUCKET}/npd")
    assert code == 1 and "PROBLEM  store: " in shown and "does not answer" in shown


@pytest.mark.usefixtures("s3_env", "environment")
def test_store_that_accepts_connections_and_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.workflows.doctor._STORE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        code, shown = _npd("--out", f"s3://{BUCKET}/npd")
    assert code == 1 and "PROBLEM  store: no answer within" in shown


@pytest.mark.parametrize(
    ("seconds", "level", "text"),
    [(0, Level.OK, "agrees"), (60, Level.WARNING, "ahead"), (-1000, Level.PROBLEM, "behind")],
)
def test_clock(seconds: float, level: Level, text: str) -> None:
    found = check_clock(datetime.now(UTC) - timedelta(seconds=seconds))
    assert found.level is level and text in found.found


@pytest.mark.usefixtures("environment")
def test_weights_that_are_missing_or_cut_off(tmp_path: Path) -> None:
    write_config(tmp_path, changed(model={"path": str(tmp_path / "absent")}))
    code, shown = _npd(tmp_path / "build.toml")
    assert code == 1 and "PROBLEM  models: " in shown and "no such model folder" in shown

    model = tmp_path / "model"
    for path in (BUNDLED / "model").rglob("*"):
        if path.is_file():
            copy = model / path.relative_to(BUNDLED / "model")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    weights = next(model.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    write_config(tmp_path, changed(model={"path": str(model)}))
    code, shown = _npd(tmp_path / "build.toml")
    assert code == 1 and f"{weights.name} is damaged" in shown


@pytest.mark.usefixtures("environment")
def test_configuration_with_a_mistake(tmp_path: Path) -> None:
    write_config(tmp_path, SETTINGS)
    path = tmp_path / "build.toml"
    path.write_text(path.read_text("utf-8").replace("num_inference_steps", "inference_steps", 1))
    code, shown = _npd(path)
    assert code == 1 and "PROBLEM  configuration: " in shown


@pytest.mark.usefixtures("environment")
def test_webhook_without_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPD_TEST_WEBHOOK", raising=False)
    write_config(tmp_path, {**SETTINGS, "notify": {"url_env": "NPD_TEST_WEBHOOK"}})
    code, shown = _npd(tmp_path / "build.toml")
    assert code == 0 and "notifications: the variable NPD_TEST_WEBHOOK holds no URL" in shown


def test_machine_with_little_room(here: Machine) -> None:
    full = Disk(use="cache", folder="/cache", total_bytes=GB, free_bytes=GB // 2, is_writable=True)
    sealed = replace(full, use="temporary", is_writable=False, free_bytes=10 * GB)
    poor = replace(
        here,
        shared_memory_bytes=64 * 2**20,
        disks=(full, sealed),
        max_open_files=1024,
        unmet=("torch 2.1.0 is installed, not <2.14,>=2.9",),
    )
    found = {each.check: each for each in check_machine(poor)}
    assert _problems([*found.values()]).keys() == {"versions", "/dev/shm", "cache", "temporary"}
    assert "--shm-size" in found["/dev/shm"].remedy
    assert found["open files"].level is Level.WARNING


def test_gpus_against_the_configuration(here: Machine) -> None:
    demo = load_config("demo")
    cluster = demo.cluster.model_copy(update={"gpus_per_worker": 1.0})
    on_gpus = demo.model_copy(update={"cluster": cluster})
    gpu = Gpu(name="NVIDIA L4", total_bytes=24 * GB, free_bytes=20 * GB)
    machine = replace(here, gpus=(gpu, replace(gpu, free_bytes=8 * GB)), cuda="12.8")
    assert check_gpus(machine, on_gpus, 5 * GB).level is Level.OK
    # The fullest GPU decides.
    assert check_gpus(machine, on_gpus, 7 * GB).level is Level.WARNING
    assert "computes on CPUs" in check_gpus(machine, demo, None).found
    without = replace(here, gpus=(), has_nvidia_device=False)
    assert "asks for 1 per worker" in check_gpus(without, on_gpus, None).found
    cpu_build = replace(without, has_nvidia_device=True, cuda=None)
    assert "built without CUDA" in check_gpus(cpu_build, demo, None).found
    broken = replace(without, gpu_error="no driver")
    assert check_gpus(broken, on_gpus, None).level is Level.PROBLEM


def test_machines_of_a_cluster(here: Machine, ray_cluster: None, tmp_path: Path) -> None:
    (node,) = describe_nodes(load_config("demo"))
    assert node.machine is not None and node.error == "" and node.missing_models == ()
    assert _problems(check_nodes(here, [node])) == {}
    absent = write_config(tmp_path, changed(model={"path": str(tmp_path / "absent")}))
    (node,) = describe_nodes(absent)
    assert (
        "no such model folder" in _problems(check_nodes(here, [node]))[f"models on {node.address}"]
    )


@pytest.mark.usefixtures("environment")
def test_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test of this process may have started a Ray, which would be used.
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        code, shown = _npd("--address", f"127.0.0.1:{unused.getsockname()[1]}")
    assert code == 1 and "PROBLEM  Ray: no Ray cluster answers at 127.0.0.1" in shown


def test_machines_that_differ_or_do_not_answer(here: Machine) -> None:
    packages = here.packages | {"torch": "2.9.0"}
    other = replace(here, host="other", python="3.12.1", packages=packages, max_open_files=256)
    nodes = [Node(address="10.0.0.1", machine=other), Node(address="10.0.0.2", machine=None)]
    found = list(check_nodes(here, nodes))
    problems = _problems(found)
    assert problems["machine 10.0.0.1"] == "other versions than here: python 3.12.1, torch 2.9.0"
    assert "machine 10.0.0.2" in problems
    assert "open files on 10.0.0.1" in [each.check for each in found]


def test_cluster_with_too_few_gpus() -> None:
    cluster = load_config("demo").cluster.model_copy(update={"workers": 8, "gpus_per_worker": 1.0})
    found = check_room(cluster, {"GPU": 4.0, "CPU": 64.0})
    assert found.level is Level.WARNING and "8 GPUs, and the cluster has 4" in found.found
    assert check_room(cluster, {"GPU": 8.0, "CPU": 8.0}).level is Level.OK
