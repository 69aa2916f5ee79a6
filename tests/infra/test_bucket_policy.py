"""The bucket policy protects commit points, and the lifecycle rule aborts stale uploads.

The test server does not support Amazon's condition keys for conditional writes, so ``iam.py``
evaluates the policy.
"""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError

from pipeline.storage import layout
from pipeline.storage.s3_client import make_client
from tests.conftest import BUCKET
from tests.infra.conftest import Recorded
from tests.infra.files import policy
from tests.infra.iam import Policy, Request, allows, request_of

COMMIT_POINTS = ("plans/p/plan.json", "receipts/p/00000000.json", "manifests/p/v1.json")


def _put(key: str, **condition: str) -> Request:
    return request_of("PutObject", {"Bucket": "BUCKET", "Key": f"PREFIX/{key}", **condition})


ANYTHING: Policy = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}],
}


@pytest.mark.parametrize("key", [*COMMIT_POINTS, "disagreements/p/00000000-a.json"])
def test_bucket_policy_allows_commit_points_only_if_absent(key: str) -> None:
    policies = [ANYTHING, policy("bucket-policy")]
    assert allows(policies, _put(key, IfNoneMatch="*"))
    assert not allows(policies, _put(key))
    assert not allows(policies, _put(key, IfMatch="etag"))
    for operation, allowed in (("CreateMultipartUpload", True), ("CompleteMultipartUpload", False)):
        target = {"Bucket": "BUCKET", "Key": f"PREFIX/{key}"}
        assert allows(policies, request_of(operation, target)) is allowed


def test_bucket_policy_allows_changes_of_success_only_by_compare_and_swap() -> None:
    policies = [ANYTHING, policy("bucket-policy")]
    assert allows(policies, _put("_SUCCESS", IfNoneMatch="*"))
    assert allows(policies, _put("_SUCCESS", IfMatch="etag"))
    assert not allows(policies, _put("_SUCCESS"))
    assert allows(policies, _put("reports/p/report.md"))


@pytest.mark.parametrize("key", [*COMMIT_POINTS, layout.SUCCESS_KEY])
def test_bucket_policy_allows_only_a_keeper_to_replace_damaged_objects(key: str) -> None:
    policies = [ANYTHING, policy("bucket-policy")]
    target = {"Bucket": "BUCKET", "Key": f"PREFIX/{key}"}
    assert allows(policies, request_of("PutObject", target, role="npd-keeper"))
    assert not allows(policies, request_of("PutObject", target, role="administrator"))


def test_bucket_policy_covers_every_commit_point_of_the_layout() -> None:
    plan_id = "p"
    keys = [
        layout.plan_key(plan_id),
        layout.receipt_key(plan_id, 0),
        layout.SUCCESS_KEY,
        layout.prompts_key(plan_id),
        layout.manifest_key(plan_id, 1),
        layout.dropped_key(plan_id, "0" * 64),
    ]
    policies = [ANYTHING, policy("bucket-policy")]
    assert [key for key in keys if allows(policies, _put(key))] == []


def _without_null(document: dict[str, Any]) -> None:
    del document["Statement"][0]["Condition"]["Null"]


def _wrong_key(document: dict[str, Any]) -> None:
    document["Statement"][0]["Condition"]["Null"] = {"s3:ifnonematch": "true"}


def _misspelt_statement(document: dict[str, Any]) -> None:
    document["Statement"][0]["Ressource"] = document["Statement"][0].pop("Resource")


def _no_version(document: dict[str, Any]) -> None:
    del document["Version"]


@pytest.mark.parametrize("damage", [_wrong_key, _misspelt_statement, _no_version])
def test_damaged_policy_is_rejected(damage: Callable[[dict[str, Any]], None]) -> None:
    document = policy("bucket-policy")
    damage(document)
    with pytest.raises(ValueError, match=r"not known|unknown or missing|not a policy"):
        allows([ANYTHING, document], _put(COMMIT_POINTS[1], IfNoneMatch="*"))


def test_bucket_policy_without_its_condition_would_block_a_build(
    recorded: Recorded,
) -> None:
    document = dict(recorded.policy("bucket-policy"))
    _without_null(document)
    policies = [recorded.policy("iam-builder"), document]
    assert not all(allows(policies, each) for each in recorded.build)


def test_lifecycle_rule_aborts_stale_uploads_and_expires_nothing(s3_url: str) -> None:
    """A real server parses the rule, after botocore has checked its fields."""
    lifecycle: Any = policy("lifecycle", bucket=BUCKET, prefix=s3_url.rpartition("/")[2])
    client = make_client()
    client.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=lifecycle)
    (rule,) = client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    client.delete_bucket_lifecycle(Bucket=BUCKET)
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rule["Filter"] == {"Prefix": f"{s3_url.rpartition('/')[2]}/"}
    assert set(rule) <= {"ID", "Status", "Filter", "AbortIncompleteMultipartUpload"}


def test_misspelt_lifecycle_rule_is_rejected(s3_url: str) -> None:
    lifecycle: Any = policy("lifecycle")
    lifecycle["Rules"][0]["AbortIncompleteUpload"] = {"DaysAfterInitiation": 1}
    with pytest.raises(ParamValidationError, match="AbortIncompleteUpload"):
        make_client().put_bucket_lifecycle_configuration(
            Bucket=BUCKET, LifecycleConfiguration=lifecycle
        )
