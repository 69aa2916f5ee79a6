"""The IAM policies of ``infra/storage`` allow every call on a store, and nothing more.

Identities with only these policies have built and read the data set, on a real server that enforces
them. ``iam.py`` evaluates each grant.
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.exit_codes import ExitCode, exit_code_of
from pipeline.core.errors import PermanentStoreError
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.open import open_store
from tests.conftest import BUCKET
from tests.infra.conftest import Recorded
from tests.infra.files import ROOT, policy
from tests.infra.iam import ACTIONS, Policy, allows, as_list, operations_in, request_of, statements
from tests.infra.identities import acting_as

STORE_MODULES = sorted((ROOT / "pipeline" / "storage").glob("s3*.py"))
"""The only modules that call boto3."""


def test_every_operation_of_the_store_modules_has_its_action() -> None:
    operations = operations_in(STORE_MODULES)
    assert operations == set(ACTIONS)
    granted = {
        action
        for name in ("iam-builder", "iam-keeper", "iam-reader")
        for statement in statements(policy(name))
        for action in as_list(statement["Action"])
    }
    assert granted == {ACTIONS[operation] for operation in operations}


def test_new_call_in_a_store_module_is_found(tmp_path: Path) -> None:
    module = tmp_path / "s3_copies.py"
    module.write_text("def copy(client):\n    client.copy_object()\n    page('list_parts')\n")
    assert operations_in([module]) == {"CopyObject", "ListParts"}


def test_builder_and_bucket_policy_allow_a_build(
    recorded: Recorded,
) -> None:
    policies = [recorded.policy("iam-builder"), recorded.policy("bucket-policy")]
    assert [each for each in recorded.build if not allows(policies, each)] == []


def test_builder_policy_grants_no_more_than_a_build_uses(
    recorded: Recorded,
) -> None:
    """Some request needs each grant (an action of a statement)."""
    narrowed = list(_without_one_grant(recorded.policy("iam-builder")))
    assert len(narrowed) == 5
    for policy_without in narrowed:
        assert not all(allows([policy_without], each) for each in recorded.build)


def _without_one_grant(policy: Policy) -> Iterator[Policy]:
    for index, statement in enumerate(policy["Statement"]):
        for action in as_list(statement["Action"]):
            less = copy.deepcopy(dict(policy))
            kept = [each for each in as_list(statement["Action"]) if each != action]
            less["Statement"][index]["Action"] = kept
            yield less


def test_real_server_enforces_the_policy_of_each_identity(recorded: Recorded) -> None:
    receipt = next(receipt_keys(recorded))
    with acting_as(recorded.identities["builder"]):
        store = open_store(recorded.url)
        with pytest.raises(PermanentStoreError, match="AccessDenied"):
            store.delete(receipt)
        with pytest.raises(PermanentStoreError, match="AccessDenied"):
            open_store(f"s3://{BUCKET}/elsewhere").put("a", b"")
    with acting_as(recorded.identities["reader"]):
        store = open_store(recorded.url)
        assert store.get(layout.SUCCESS_KEY)
        for refused in (lambda: store.get(receipt), lambda: store.put("reports/a", b"")):
            with pytest.raises(PermanentStoreError, match="AccessDenied"):
                refused()
        # The place is right, and the verification has begun when it is refused.
        with pytest.raises(PermanentStoreError, match="AccessDenied") as stopped:
            verify(store)
        assert exit_code_of(stopped.value) is ExitCode.PROBLEM
    with acting_as(recorded.identities["keeper"]):
        store = open_store(recorded.url)
        store.delete(receipt)
        assert store.head(receipt) is None


def receipt_keys(recorded: Recorded) -> Iterator[str]:
    """Yield the keys of the receipts."""
    with acting_as(recorded.identities["builder"]):
        yield from (info.key for info in open_store(recorded.url).list("receipts/"))


def test_keeper_can_remove_receipts_and_a_builder_cannot() -> None:
    target = {"Bucket": "BUCKET", "Key": "PREFIX/receipts/p/00000000.json"}
    removal = request_of("DeleteObject", target)
    builder, keeper = policy("iam-builder"), policy("iam-keeper")
    assert not allows([builder], removal)
    assert allows([builder, keeper], removal)


@pytest.mark.parametrize("name", ["iam-builder", "iam-keeper", "iam-reader"])
def test_nothing_outside_the_prefix_is_granted(name: str) -> None:
    resources = {each for s in statements(policy(name)) for each in as_list(s["Resource"])}
    outside = {each for each in resources if not each.startswith("arn:aws:s3:::BUCKET/PREFIX/")}
    assert outside <= {"arn:aws:s3:::BUCKET"}  # to list
    assert not any(action.endswith("*") for s in statements(policy(name)) for action in s["Action"])


def test_reader_policy_allows_reading_a_sealed_data_set_and_nothing_else(
    recorded: Recorded,
) -> None:
    reader = recorded.policy("iam-reader")
    assert recorded.read
    assert [each for each in recorded.read if not allows([reader], each)] == []
    assert not all(allows([reader], each) for each in recorded.build)
    for key in ("units/p/x.arrow", "plans/p/plan.json", "receipts/p/00000000.json"):
        target = {"Bucket": BUCKET, "Key": f"{recorded.prefix}/{key}"}
        assert not allows([reader], request_of("GetObject", target))
