"""Whether IAM and bucket policies let a request through: the rules of AWS, as far as we use them.

A request is refused if any statement denies it, or if none allows it. What is not understood is
an error and never a silent yes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

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
    """One call: the action that IAM checks, on what, with the condition keys that it carries."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def allows(policies: list[Policy], request: Request) -> bool:
    """Whether the request goes through. Raises ``ValueError`` for a policy not understood."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in statements(policy)
        if _applies(statement, request)
    }
    return effects == {"Allow"}


def statements(policy: Policy) -> Iterator[Mapping[str, Any]]:
    """The statements, checked. Raises ``ValueError``."""
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
    """AWS writes a list of one as its member."""
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
