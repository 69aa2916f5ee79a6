"""The Helm chart and its values: lint, wrong values, and what a value changes."""

from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from pipeline.config.file import bundled_configs
from tests.infra.files import BUILD, CHART, GIVEN, INFRA, manifests, of_kind, trial
from tests.infra.kubernetes import containers, pod_templates
from tests.infra.test_dockerfile import PROJECT, pins


@pytest.mark.parametrize("values", [BUILD, trial()], ids=["build", "trial"])
def test_lint_finds_nothing(values: dict[str, Any]) -> None:
    found = helm.lint(CHART, values, strict=True)
    assert found["errors"] == []
    assert [each["error"] for each in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": {}}, "set image.repository"),
        ({"store": ""}, "set store to the place of the data set"),
        ({"store": "/data"}, "it must be s3://bucket/prefix"),
        ({"config": "", "files": {}}, "give a configuration with --set-file config=my.toml"),
        ({"shippedConfig": "demo"}, "set config or shippedConfig, not both"),
        ({"config": "", "shippedConfig": "demo"}, "files are put beside config"),
        ({"worker": {"max": 3}}, "additional properties 'worker' not allowed"),
        ({"workers": {"gpu": 2}}, "additional properties 'gpu' not allowed"),
        ({"workers": {"max": "many"}}, "got string, want integer"),
        ({"head": {"memory": "16 gigabytes"}}, "does not match pattern"),
        ({"arguments": ["--add; rm -rf /"]}, "does not match pattern"),
    ],
)
def test_wrong_value_is_an_error_that_names_it(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(helm.HelmError, match=message):
        manifests({**BUILD, **wrong})


def test_versions_are_those_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == PROJECT["version"]
    assert chart["annotations"]["npd/ray"] == pins(INFRA / "constraints.txt")["ray"]


def test_trial_builds_a_shipped_configuration_on_cpus() -> None:
    assert trial()["shippedConfig"] in bundled_configs()
    rayjob = of_kind("RayJob", trial())
    assert rayjob["spec"]["entrypoint"].split()[3] == trial()["shippedConfig"]
    assert [each["kind"] for each in manifests(trial())] == ["NetworkPolicy", "RayJob"]
    for template in pod_templates(rayjob).values():
        assert not {"nodeSelector", "tolerations"} & set(template["spec"])
    for container in containers(rayjob):
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_configuration_and_files_reach_the_job_unchanged() -> None:
    config = Path(INFRA.parent / "pipeline/recipes/sdxl.toml").read_text(encoding="utf-8")
    files = {"prompts.txt": 'a "cat": {{ .Values.store }}\n- ümlaut\n'}
    found = of_kind("ConfigMap", {**GIVEN, "config": config, "files": files})
    assert found["data"] == {"build.toml": config, **files}


def test_roles_and_pull_secrets_reach_the_pods() -> None:
    values = {
        **BUILD,
        "storeSecret": "",
        "serviceAccount": "builder",
        "image": {"repository": "r/npd", "tag": "1", "pullSecrets": ["registry"]},
        "arguments": ["--add"],
    }
    rayjob = of_kind("RayJob", values)
    head, workers = pod_templates(rayjob).values()
    assert workers["spec"]["serviceAccountName"] == "builder"
    assert "serviceAccountName" not in head["spec"], "KubeRay makes one for the autoscaler"
    for container in containers(rayjob):
        assert container["image"] == "r/npd:1"
        assert "envFrom" not in container
    for template in (head, workers):
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert rayjob["spec"]["entrypoint"].endswith("--out s3://bucket/prefix --add")
