"""Who reaches which port of a pod under a NetworkPolicy, by the rules of Kubernetes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A pod that tries to connect."""

    labels: Mapping[str, str]
    namespace: str
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


def may_connect(
    policy: Mapping[str, Any], peer: Peer, target: Mapping[str, str], port: int, *, namespace: str
) -> bool:
    """Whether the policy of a namespace lets a peer reach a port of the pod with these labels."""
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
        raise ValueError(f"selector {selector} is not understood")
    return selector.get("matchLabels", {}).items() <= labels.items()
