"""Parsed files of ``infra/``."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"


def policy(name: str, *, bucket: str = "BUCKET", prefix: str = "PREFIX") -> dict[str, Any]:
    """Return a JSON file of ``infra/storage`` with its placeholders filled in."""
    text = (INFRA / "storage" / f"{name}.json").read_text(encoding="utf-8")
    filled: dict[str, Any] = json.loads(text.replace("BUCKET", bucket).replace("PREFIX", prefix))
    return filled


def manifests(name: str) -> list[dict[str, Any]]:
    """Return the Kubernetes objects in a file of ``infra/kuberay``."""
    text = (INFRA / "kuberay" / name).read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))


def of_kind(kind: str, name: str) -> dict[str, Any]:
    """Return the only object of a kind in a file of ``infra/kuberay``."""
    (found,) = (each for each in manifests(name) if each["kind"] == kind)
    return found
