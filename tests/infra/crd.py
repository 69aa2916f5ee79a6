"""KubeRay's own schema of a RayJob, made strict: a field that it does not know is an error.

The definition is data of another project, so it is not part of this one; ``NPD_RAYJOB_CRD`` says
where it is (see ``infra/README.md``).
"""

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

VARIABLE = "NPD_RAYJOB_CRD"


def strict_rayjob_schema() -> dict[str, Any]:
    """The schema of ``ray.io/v1`` RayJob. Skips the test where the definition is not there."""
    where = os.environ.get(VARIABLE)
    if not where:
        pytest.skip(f"{VARIABLE} is not set; infra/README.md says where to get ray.io_rayjobs.yaml")
    definition = yaml.load(Path(where).read_text(encoding="utf-8"), yaml.CSafeLoader)
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    schema: dict[str, Any] = strict(version["schema"]["openAPIV3Schema"])
    return schema


def strict(schema: Any) -> Any:
    """Kubernetes' dialect of a schema as JSON Schema, with no unknown field allowed."""
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
    """What is wrong with an instance, with the place of each."""
    validator = jsonschema.Draft7Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]
