"""Kubernetes manifests: pods, secrets, network policies, and the schema of a RayJob."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml


def pod_templates(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the pod templates of a RayJob by role: the head, then the groups of workers."""
    cluster = manifest["spec"]["rayClusterSpec"]
    return {
        "head": cluster["headGroupSpec"]["template"],
        **{group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]},
    }


def as_pod(template: dict[str, Any]) -> dict[str, Any]:
    """Return a template as a Pod object, which the schema of Kubernetes can check."""
    metadata = {"name": "pod", **template["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def containers(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every container of every pod."""
    for template in pod_templates(manifest).values():
        yield from template["spec"]["containers"]


def literal_secrets(node: Any, path: str = "") -> list[str]:
    """Return the paths of secrets that a manifest contains literally, not by reference."""
    if isinstance(node, list):
        return [hit for i, each in enumerate(node) for hit in literal_secrets(each, f"{path}[{i}]")]
    if not isinstance(node, dict):
        return []
    found = []
    if _is_secret(str(node.get("name", ""))) and "value" in node:  # a variable
        found.append(f"{path}.value")
    for key, value in node.items():
        at = f"{path}.{key}".lstrip(".")
        if _is_secret(key) and isinstance(value, str) and not key.endswith("Name"):
            found.append(at)
        if _is_secret(key) and isinstance(value, dict) and "value" in value:
            found.append(f"{at}.value")
        found += literal_secrets(value, at)
    return found


def _is_secret(name: str) -> bool:
    plain = name.lower().replace("_", "")
    return any(word in plain for word in ("password", "secret", "token", "accesskey"))


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A pod that tries to connect."""

    labels: Mapping[str, str]
    namespace: str
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


def may_connect(
    policy: Mapping[str, Any], peer: Peer, target: Mapping[str, str], port: int, *, namespace: str
) -> bool:
    """Return True if a network policy lets a peer reach a port of the pod with these labels."""
    spec = policy["spec"]
    if "Ingress" not in spec["policyTypes"] or not _selects(spec["podSelector"], target):
        return True  # a pod that no policy selects is open to all
    return any(
        ("from" not in rule or any(_is_from(each, peer, namespace) for each in rule["from"]))
        and ("ports" not in rule or any(each["port"] == port for each in rule["ports"]))
        for rule in spec.get("ingress", [])
    )


def _is_from(source: Mapping[str, Any], peer: Peer, namespace: str) -> bool:
    if "namespaceSelector" in source:
        if not _selects(source["namespaceSelector"], peer.namespace_labels):
            return False
    elif peer.namespace != namespace:
        return False
    return _selects(source.get("podSelector", {}), peer.labels)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if set(selector) - {"matchLabels"}:
        raise ValueError(f"selector {selector} is not supported")
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


VARIABLE = "NPD_RAYJOB_CRD"
"""Environment variable with the path of KubeRay's definition of a RayJob (``infra/README.md``).

The definition belongs to another project, so this one does not contain it.
"""


def strict_rayjob_schema() -> dict[str, Any]:
    """Return the schema of ``ray.io/v1`` RayJob. Skip the test if the definition is missing."""
    path = os.environ.get(VARIABLE)
    if not path:
        pytest.skip(f"{VARIABLE} is not set; see infra/README.md for ray.io_rayjobs.yaml")
    definition = yaml.load(Path(path).read_text(encoding="utf-8"), yaml.CSafeLoader)
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    schema: dict[str, Any] = strict(version["schema"]["openAPIV3Schema"])
    return schema


def strict(schema: Any) -> Any:
    """Convert a Kubernetes schema to JSON Schema that rejects unknown fields."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(each) for key, each in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        preserves = schema.get("x-kubernetes-preserve-unknown-fields") is True
        closed.setdefault("additionalProperties", preserves)
    return closed


def errors(schema: dict[str, Any], instance: Any) -> list[str]:
    """Return the errors of an instance with their paths."""
    validator = jsonschema.Draft7Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]
