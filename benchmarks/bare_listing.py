"""Listing of receipts without the pipeline: as fast as the store can.

    python -m benchmarks.bare_listing {boto3,http,folder} URL PLAN_ID NUM_UNITS

Prints the number of objects and the seconds. On S3 it lists the same ranges of keys as the
pipeline, as many at once: ``boto3`` with a plain client, ``http`` with signed requests whose
replies are searched for keys and not parsed.
"""

import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import boto3
import urllib3
from botocore.config import Config

from pipeline.storage import layout
from pipeline.storage.commits import key_ranges
from pipeline.storage.s3 import S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THREADS = S3Store.parallel_requests

_TOKEN = re.compile(rb"<NextContinuationToken>([^<]+)<")


def count_with_boto3(client: "S3Client", bucket: str, prefix: str) -> int:
    """List the objects below a prefix with boto3."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return sum(len(page.get("Contents", ())) for page in pages)


def count_with_http(client: "S3Client", bucket: str, prefix: str) -> int:
    """List the objects below a prefix with plain requests."""
    found, token = 0, ""
    while True:
        query = {"Bucket": bucket, "Prefix": prefix} | (
            {"ContinuationToken": token} if token else {}
        )
        url = client.generate_presigned_url("list_objects_v2", Params=query)
        reply = _HTTP.request("GET", url)
        if reply.status != 200:
            raise RuntimeError(f"{prefix}: {reply.status}")
        found += reply.data.count(b"<Key>")
        if (following := _TOKEN.search(reply.data)) is None:
            return found
        token = following[1].decode()


_HTTP = urllib3.PoolManager(maxsize=THREADS)


def count_on_s3(
    count: Callable[["S3Client", str, str], int], url: str, plan_id: str, num_units: int
) -> int:
    """List the receipts of a plan by ranges of their keys."""
    config = Config(max_pool_connections=THREADS, signature_version="s3v4")
    client = boto3.client("s3", config=config)
    bucket, _, root = url.removeprefix("s3://").partition("/")
    prefix = f"{root}/{layout.receipts_prefix(plan_id)}"
    with ThreadPoolExecutor(THREADS) as pool:
        prefixes = [f"{prefix}{digits}" for digits in key_ranges(num_units)]
        return sum(pool.map(lambda each: count(client, bucket, each), prefixes))


def count_in_folder(url: str, plan_id: str) -> int:
    """List names and times of the receipts in a folder."""
    with os.scandir(Path(url) / layout.receipts_prefix(plan_id)) as entries:
        return len(sorted((entry.name, entry.stat().st_mtime) for entry in entries))


def main(way: str, url: str, plan_id: str, num_units: str) -> None:
    """List and print."""
    begin = perf_counter()
    if way == "folder":
        found = count_in_folder(url, plan_id)
    else:
        count = {"boto3": count_with_boto3, "http": count_with_http}[way]
        found = count_on_s3(count, url, plan_id, int(num_units))
    print(found, perf_counter() - begin)


if __name__ == "__main__":
    main(*sys.argv[1:])
