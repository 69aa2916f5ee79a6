"""Entries of listings are parsed as botocore parses them."""

from typing import Any

import pytest

from pipeline.storage import s3_client
from pipeline.storage.s3_client import make_client
from tests.storage.lying_servers import entry, lying, page, with_length

MORE = "<ETag>&#34;9991&#34;</ETag><StorageClass>STANDARD</StorageClass><Owner><ID>i</ID></Owner>"
XMLNS = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def _named(body: bytes) -> bytes:
    return body.replace(b"<ListBucketResult>", b"<ListBucketResult " + XMLNS + b">")


def _prefixed(body: bytes) -> bytes:
    body = body.replace(b"</", b"</s:").replace(b"<", b"<s:").replace(b"<s:/s:", b"</s:")
    return body.replace(b"<s:ListBucketResult>", b"<s:ListBucketResult xmlns:s='u'>")


ONE = entry("p/a").replace("</Contents>", f"{MORE}</Contents>")
TWO = entry("p/b%20%C3%A9&amp;&#x41;", 2**40, "2026-11-22T20:22:01.250+00:00")

PAGES: dict[str, bytes] = {
    "plain": page(ONE + TWO),
    "named": _named(page(ONE + TWO)),
    "one": _named(page(ONE)),
    "none": _named(page("")),
    "encoded": _named(page("<EncodingType>url</EncodingType>" + ONE + TWO)),
    "lines": _named(page(f"\n  {ONE}\n  {TWO}\n ")),
    "folders": _named(page(f"{ONE}<CommonPrefixes><Prefix>p/c/</Prefix></CommonPrefixes>{TWO}")),
    "prefixed": _prefixed(page(ONE + TWO)),
    "comment": _named(page(f"<!-- {ONE} -->{TWO}")),
    "instruction": _named(page(f"{TWO}<?x {ONE}?>")),
    "declaration": b"<?xml version='1.0' encoding='UTF-8'?>\n" + _named(page(ONE + TWO)),
}


def _listed(url: str) -> dict[str, Any]:
    client = make_client(endpoint_url=url)
    found: dict[str, Any] = {**client.list_objects_v2(Bucket="bucket", Prefix="p/")}
    entries = found.get("Contents", [])
    used = [{name: each[name] for name in ("Key", "Size", "LastModified")} for each in entries]
    fields = ("IsTruncated", "NextContinuationToken", "CommonPrefixes")
    return {"Contents": used} | {name: found[name] for name in fields if name in found}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_parsed_as_by_botocore(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with lying(lambda method, query, headers: with_length(PAGES[name])) as url:
        fast = _listed(url)
        monkeypatch.setattr(s3_client, "parse_listings", lambda client: client)
        assert fast == _listed(url)
    assert (fast["Contents"] == []) == (name == "none")
