"""S3 client: differences from boto3's defaults."""

import gc
from contextlib import nullcontext
from typing import Any

import boto3
import pytest
from botocore.loaders import JSONFileLoader
from botocore.utils import parse_timestamp

from pipeline.storage.s3_client import _read_time, make_client


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T20:22:01Z",  # SeaweedFS, in a listing
        "2026-11-22T20:22:01.123Z",  # Amazon, in a listing
        "2026-11-22T21:22:01+01:00",
        "Sun, 22 Nov 2026 20:22:01 GMT",  # an HTTP header
        1795379000,
    ],
)
def test_times_are_read_as_botocore_reads_them(text: str | int) -> None:
    time = _read_time(text)
    assert time == parse_timestamp(text)  # type: ignore[arg-type]  # the stubs omit numbers
    assert time.utcoffset() is not None


def test_a_further_client_reads_no_descriptions_of_services_again(
    s3_env: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_client().list_buckets()
    read: list[str] = []
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda loader, path: read.append(path))
    make_client().list_buckets()
    assert read == []


def test_a_client_follows_the_environment_that_it_is_made_in(
    s3_env: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    first = make_client()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    second = make_client()
    assert first.meta.region_name == "eu-central-1"
    assert second.meta.region_name == "us-west-2"
    assert second.meta.endpoint_url == "http://127.0.0.1:9"
    assert first.meta.endpoint_url != second.meta.endpoint_url


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "no URL"])
def test_garbage_is_collected_after_a_client_was_made_as_it_was_before(
    s3_env: None, monkeypatch: pytest.MonkeyPatch, endpoint: str, enabled: bool
) -> None:
    during: list[bool] = []
    client = boto3.session.Session.client

    def watched(*args: Any, **kwargs: Any) -> Any:
        during.append(gc.isenabled())
        return client(*args, **kwargs)

    monkeypatch.setattr(boto3.session.Session, "client", watched)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    gc.enable() if enabled else gc.disable()
    try:
        with pytest.raises(ValueError) if endpoint == "no URL" else nullcontext():
            make_client()
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert during and not any(during)
