"""Identities on a real S3 server whose only rights are IAM policies."""

import json
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
import psutil
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.storage.seaweedfs import SeaweedFS
from tests.infra.iam import Policy

DEADLINE_S = 120.0


@contextmanager
def acting_as(identity: Mapping[str, str]) -> Iterator[None]:
    """Use an identity for all stores that are opened in this context."""
    with pytest.MonkeyPatch.context() as environment:
        for name, setting in identity.items():
            environment.setenv(name, setting)
        yield


def add_identities(
    server: SeaweedFS, policies: Mapping[str, list[Policy]]
) -> dict[str, dict[str, str]]:
    """Add an identity with policies for each name. Return the environment variables of each."""
    path = server.directory / "identities.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    environments = {}
    for name, documents in policies.items():
        unique = f"{name}-{secrets.token_hex(4)}"
        attached = {f"{unique}-{i}": document for i, document in enumerate(documents)}
        keys = {"accessKey": secrets.token_hex(8), "secretKey": secrets.token_hex(16)}
        known.setdefault("policies", []).extend(
            {"name": each, "content": json.dumps(document)} for each, document in attached.items()
        )
        known["identities"].append(
            {"name": unique, "credentials": [keys], "actions": [], "policyNames": [*attached]}
        )
        environments[name] = server.env() | {
            "AWS_ACCESS_KEY_ID": keys["accessKey"],
            "AWS_SECRET_ACCESS_KEY": keys["secretKey"],
        }
    path.write_text(json.dumps(known), encoding="utf-8")
    _process_of(server).send_signal(signal.SIGHUP)  # makes it reload its identities
    for environment in environments.values():
        _wait_until_known(environment)
    return environments


def make_public(server: SeaweedFS, bucket: str) -> None:
    """Allow requests without a signature to read the objects of a bucket, and nothing else."""
    path = server.directory / "identities.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    others = [each for each in known["identities"] if each["name"] != "anonymous"]
    known["identities"] = [*others, {"name": "anonymous", "actions": [f"Read:{bucket}"]}]
    path.write_text(json.dumps(known), encoding="utf-8")
    _process_of(server).send_signal(signal.SIGHUP)  # makes it reload its identities
    session = boto3.session.Session()
    session.client("s3", **_signed(server.env())).put_object(Bucket=bucket, Key="known", Body=b"")
    anonymous_client = session.client(
        "s3", endpoint_url=server.endpoint_url, config=Config(signature_version=UNSIGNED)
    )
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:  # paced by the requests
        try:
            anonymous_client.get_object(Bucket=bucket, Key="known")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied", error
        else:
            return
    raise AssertionError(f"the server did not make its bucket public in {DEADLINE_S:.0f} s")


def _process_of(server: SeaweedFS) -> psutil.Process:
    (found,) = (
        child
        for child in psutil.Process().children()
        if any(str(server.directory) in argument for argument in child.cmdline())
    )
    return found


def _wait_until_known(environment: Mapping[str, str]) -> None:
    client = boto3.session.Session().client("s3", **_signed(environment))
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:  # paced by the requests
        try:
            client.list_buckets()
        except ClientError as error:
            if error.response["Error"]["Code"] == "InvalidAccessKeyId":
                continue
            assert error.response["Error"]["Code"] == "AccessDenied", error
        return
    raise AssertionError(f"the server did not load its new identity in {DEADLINE_S:.0f} s")


def _signed(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of a boto3 client for an identity."""
    return {
        "endpoint_url": environment["AWS_ENDPOINT_URL"],
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
        "region_name": environment["AWS_REGION"],
    }
