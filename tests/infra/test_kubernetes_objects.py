"""Kubernetes objects, pod templates and network policies, against the schemas of Kubernetes."""

from typing import Any

import kubernetes_validate
import pytest

from tests.infra.files import BUILD, manifests, of_kind, trial
from tests.infra.kubernetes import Peer, as_pod, literal_secrets, may_connect, pod_templates

VERSION = kubernetes_validate.latest_version()
NAMESPACE = "builds"


def _validate(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("values", [BUILD, trial()], ids=["build", "trial"])
def test_every_object_and_pod_satisfies_kubernetes(values: dict[str, Any]) -> None:
    for manifest in manifests(values):
        if manifest["kind"] == "RayJob":
            for template in pod_templates(manifest).values():
                _validate(as_pod(template))
        else:
            _validate(manifest)
        assert literal_secrets(manifest) == []


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("terminationGracePeriodSecond", 120), ("tolerations", {"key": "a"}), ("containers", None)],
)
def test_wrong_field_of_a_pod_is_rejected(field: str, wrong: object) -> None:
    template = pod_templates(of_kind("RayJob"))["workers"]
    template["spec"][field] = wrong
    with pytest.raises(kubernetes_validate.ValidationError):
        _validate(as_pod(template))


def test_wrong_field_of_a_network_policy_is_rejected() -> None:
    policy = of_kind("NetworkPolicy")
    policy["spec"]["ingres"] = policy["spec"].pop("ingress")
    with pytest.raises(kubernetes_validate.ValidationError, match="ingres"):
        _validate(policy)


POLICY = of_kind("NetworkPolicy")
PODS = {
    role: template["metadata"]["labels"]
    for role, template in pod_templates(of_kind("RayJob")).items()
}
OPERATOR = Peer(
    labels={"app.kubernetes.io/name": "kuberay-operator"},
    namespace="kuberay-system",
    namespace_labels={"kubernetes.io/metadata.name": "kuberay-system"},
)
PROMETHEUS = Peer(
    labels={"app.kubernetes.io/name": "prometheus"},
    namespace="monitoring",
    namespace_labels={"kubernetes.io/metadata.name": "monitoring"},
)
OTHER_PODS = [
    Peer(labels={"app": "shop"}, namespace=NAMESPACE),
    Peer(labels=PODS["head"], namespace="elsewhere"),
    Peer(labels=OPERATOR.labels, namespace="elsewhere"),
    Peer(labels=PODS["head"] | {"app.kubernetes.io/instance": "another"}, namespace=NAMESPACE),
    Peer(labels=PROMETHEUS.labels, namespace=NAMESPACE),
    Peer(labels={}, namespace="kuberay-system", namespace_labels=OPERATOR.namespace_labels),
]
PORTS = {
    "dashboard": 8265,
    "gcs": 6379,
    "client": 10001,
    "object manager": 8076,
    "metrics": 8080,
}


def _reaches(peer: Peer, role: str, port: int, policy: dict[str, Any] = POLICY) -> bool:
    return may_connect(policy, peer, PODS[role], port, namespace=NAMESPACE)


@pytest.mark.parametrize("role", PODS)
def test_network_policy_closes_every_pod_to_other_pods(role: str) -> None:
    for port in PORTS.values():
        assert not any(_reaches(peer, role, port) for peer in OTHER_PODS)


def test_network_policy_connects_the_pods_of_a_build() -> None:
    for labels in PODS.values():
        peer = Peer(labels=labels, namespace=NAMESPACE)
        assert all(_reaches(peer, role, port) for role in PODS for port in PORTS.values())


def test_network_policy_opens_only_the_dashboard_to_the_operator() -> None:
    assert [name for name, port in PORTS.items() if _reaches(OPERATOR, "head", port)] == [
        "dashboard"
    ]


@pytest.mark.parametrize("role", PODS)
def test_network_policy_opens_only_the_metrics_to_prometheus(role: str) -> None:
    assert [name for name, port in PORTS.items() if _reaches(PROMETHEUS, role, port)] == ["metrics"]
    closed = {**BUILD, "networkPolicy": {"prometheusNamespace": ""}}
    policy = of_kind("NetworkPolicy", closed)
    assert not any(_reaches(PROMETHEUS, role, port, policy) for port in PORTS.values())


def test_open_network_policy_is_found() -> None:
    policy = of_kind("NetworkPolicy")
    policy["spec"]["ingress"].append({"from": [{"podSelector": {}}]})
    assert _reaches(OTHER_PODS[0], "head", PORTS["dashboard"], policy)
    policy = of_kind("NetworkPolicy")
    policy["spec"]["podSelector"]["matchLabels"] = {"app": "other"}
    assert _reaches(OTHER_PODS[0], "head", PORTS["dashboard"], policy)
