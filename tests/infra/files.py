"""Parsed files of ``infra/``, with the Helm chart rendered by Helm itself."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
CHART = INFRA / "helm"

GIVEN: Mapping[str, Any] = {
    "image": {"repository": "registry.example.com/npd"},
    "store": "s3://bucket/prefix",
}
"""Values that every installation has to give."""

BUILD: Mapping[str, Any] = {**GIVEN, "config": "[prompts]\n", "files": {"prompts.txt": "a cat\n"}}
"""Values of a build on GPUs."""


def policy(name: str, *, bucket: str = "BUCKET", prefix: str = "PREFIX") -> dict[str, Any]:
    """Return a JSON file of ``infra/storage`` with its placeholders filled in."""
    text = (INFRA / "storage" / f"{name}.json").read_text(encoding="utf-8")
    filled: dict[str, Any] = json.loads(text.replace("BUCKET", bucket).replace("PREFIX", prefix))
    return filled


def trial() -> dict[str, Any]:
    """Return the values of the trial without GPUs."""
    text = (CHART / "trial.yaml").read_text(encoding="utf-8")
    return {**yaml.safe_load(text), **GIVEN}


def manifests(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the Kubernetes objects of the chart. Raises ``helm.HelmError`` for wrong values."""
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(dict(values))
        rendered = chart.render(dict(values), name="npd-build", namespace="builds")
    files = (text for name, text in rendered.items() if name.endswith(".yaml"))
    return [each for text in files for each in yaml.safe_load_all(text) if each]


def of_kind(kind: str, values: Mapping[str, Any] = BUILD) -> dict[str, Any]:
    """Return the only object of a kind in the chart."""
    (found,) = (each for each in manifests(values) if each["kind"] == kind)
    return found
