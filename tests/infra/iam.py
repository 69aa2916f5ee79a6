"""Evaluation of IAM and bucket policies, for the subset of AWS's rules that this project uses.

A request is denied if any statement denies it, or if none allows it. Unknown elements of a policy
are an error, so that nothing is allowed by mistake.
"""

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.history import BaseHistoryHandler, get_global_history_recorder
from botocore.session import get_session

Policy = Mapping[str, Any]

CONDITION_KEYS = {
    "aws:PrincipalArn",
    "s3:if-match",
    "s3:if-none-match",
    "s3:ObjectCreationOperation",
}
STATEMENT_KEYS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request: the action that IAM checks, the resource, and the condition keys."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def allows(policies: list[Policy], request: Request) -> bool:
    """Return True if the policies allow the request. Raises ``ValueError`` for unknown elements."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in statements(policy)
        if _applies(statement, request)
    }
    return effects == {"Allow"}


def statements(policy: Policy) -> Iterator[Mapping[str, Any]]:
    """Yield the statements after a check. Raises ``ValueError``."""
    if policy.get("Version") != "2012-10-17" or set(policy) != {"Version", "Statement"}:
        raise ValueError(f"not a policy of version 2012-10-17: {sorted(policy)}")
    for statement in policy["Statement"]:
        unknown = set(statement) - STATEMENT_KEYS
        if unknown or not {"Effect", "Action", "Resource"} <= set(statement):
            raise ValueError(f"statement {statement.get('Sid')}: unknown or missing keys {unknown}")
        if statement["Effect"] not in ("Allow", "Deny"):
            raise ValueError(f"statement {statement.get('Sid')}: Effect {statement['Effect']!r}")
        yield statement


def as_list(value: str | list[str]) -> list[str]:
    """Return the values of a field in which AWS writes a single one without a list."""
    return [value] if isinstance(value, str) else value


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    return (
        request.action in as_list(statement["Action"])
        and any(fnmatchcase(request.resource, each) for each in as_list(statement["Resource"]))
        and statement.get("Principal", "*") == "*"
        and all(
            _holds(operator, key, wanted, request.context)
            for operator, tests in statement.get("Condition", {}).items()
            for key, wanted in tests.items()
        )
    )


def _holds(operator: str, key: str, wanted: str, context: Mapping[str, str]) -> bool:
    if key not in CONDITION_KEYS:
        raise ValueError(f"condition key {key!r} is not known")
    match operator:
        case "Null":
            return (key not in context) == (wanted == "true")
        case "Bool":
            return context.get(key) == wanted
        case "ArnNotLike":
            return not fnmatchcase(context.get(key, ""), wanted)
    raise ValueError(f"condition operator {operator!r} is not known")


ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
}
"""Right that each operation needs, from Amazon's service authorization reference."""

_CONDITIONS = {"IfNoneMatch": "s3:if-none-match", "IfMatch": "s3:if-match"}


class _Recorder(BaseHistoryHandler):
    """Recorder of botocore's calls, in their order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []

    def emit(self, event_type: str, payload: Any, source: str) -> None:
        if event_type == "API_CALL":
            self.calls.append((payload["operation"], payload["params"]))


@contextmanager
def recorded_calls() -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
    """Yield a list that receives the name and parameters of every boto3 call of this process."""
    recorder, history = _Recorder(), get_global_history_recorder()
    history.add_handler(recorder)
    history.enable()
    try:
        yield recorder.calls
    finally:
        history.disable()


def request_of(operation: str, params: Mapping[str, Any], role: str = "npd-builder") -> Request:
    """Return the IAM request of a role's call. Raises ``KeyError`` for an unknown operation."""
    arn = f"arn:aws:s3:::{params['Bucket']}"
    context = {key: params[name] for name, key in _CONDITIONS.items() if name in params}
    context["aws:PrincipalArn"] = f"arn:aws:iam::ACCOUNT:role/{role}"
    if ACTIONS[operation] == "s3:PutObject":
        creates = operation in ("PutObject", "CompleteMultipartUpload")
        context["s3:ObjectCreationOperation"] = str(creates).lower()
    return Request(
        action=ACTIONS[operation],
        resource=f"{arn}/{params['Key']}" if "Key" in params else arn,
        context=context,
    )


def operations_in(files: list[Path]) -> set[str]:
    """Return the S3 operations that Python files call or paginate."""
    operations = get_session().get_service_model("s3").operation_names
    by_method = {xform_name(operation): operation for operation in operations}
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in by_method:
                found.add(by_method[node.attr])
            elif isinstance(node, ast.Constant) and node.value in by_method:
                found.add(by_method[node.value])
    return found
