"""Which calls this process makes on S3, and what IAM calls them."""

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.history import get_global_history_recorder
from botocore.session import get_session

from tests.infra.iam import Request

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
"""What Amazon's service authorization reference says that each operation needs."""

_CONDITIONS = {"IfNoneMatch": "s3:if-none-match", "IfMatch": "s3:if-match"}


class _Recorder:
    """What botocore tells of its calls, in the order of the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []

    def emit(self, event_type: str, payload: Any, source: str) -> None:
        if event_type == "API_CALL":
            self.calls.append((payload["operation"], payload["params"]))


@contextmanager
def recorded_calls() -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
    """Every call that any boto3 client of this process makes meanwhile: name and parameters."""
    recorder, history = _Recorder(), get_global_history_recorder()
    history.add_handler(recorder)
    history.enable()
    try:
        yield recorder.calls
    finally:
        history.disable()


def request_of(operation: str, params: Mapping[str, Any], role: str = "npd-builder") -> Request:
    """A role's call as IAM sees it. Raises ``KeyError`` for an operation not in ``ACTIONS``."""
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
    """The S3 operations that are called, or paged through, anywhere in Python files."""
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
