"""The pods that a RayJob, or a Deployment, starts."""

from collections.abc import Iterator
from typing import Any


def pod_templates(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod templates of a RayJob by role, or that of a Deployment."""
    spec = manifest["spec"]
    if manifest["kind"] == "Deployment":
        return {manifest["metadata"]["name"]: spec["template"]}
    cluster = spec["rayClusterSpec"]
    return {
        "submitter": spec["submitterPodTemplate"],
        "head": cluster["headGroupSpec"]["template"],
        **{group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]},
    }


def as_pod(template: dict[str, Any]) -> dict[str, Any]:
    """A template as a Pod object, which Kubernetes' own schema can check."""
    metadata = {"name": "pod", **template["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def containers(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every container of every pod."""
    for template in pod_templates(manifest).values():
        yield from template["spec"]["containers"]


def literal_secrets(node: Any, path: str = "") -> list[str]:
    """Where a secret's value stands in a manifest, in place of a reference to it."""
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
