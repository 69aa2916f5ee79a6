"""Upload of one object to S3: a single PUT, or a multipart upload for large objects.

The store checks a condition (If-None-Match, If-Match) at the PUT or at the completion of the
upload. Readers see nothing before that. botocore adds a CRC-32 to every request.

A single PUT is atomic on every store that passes the probe. Concurrent completions are not atomic
on every store: SeaweedFS 4.48 accepted up to 4 of 16, and the last one stayed. Large objects are
therefore content-addressed, so that racing writers write the same bytes. Commit points are small.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.storage.object_store import Content

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 16 * 1024 * 1024
MAX_PARTS = 10_000
PARALLEL_PARTS = 4
"""Number of parts uploaded at once; memory holds at most this many."""


def upload(
    client: "S3Client",
    bucket: str,
    key: str,
    content: Content,
    condition: dict[str, Any],
    multipart_bytes: int,
) -> None:
    """Write ``content``, in parts from ``multipart_bytes`` on. Raises botocore's errors."""
    if content.num_bytes < multipart_bytes:
        body = content.read(0, content.num_bytes)
        answer = client.put_object(Bucket=bucket, Key=key, Body=body, **condition)
        if not answer.get("ETag"):
            raise ValueError("an object was put, and it sent no ETag")
    else:
        _upload_in_parts(client, {"Bucket": bucket, "Key": key}, content, condition)


def _upload_in_parts(
    client: "S3Client", target: dict[str, Any], content: Content, condition: dict[str, Any]
) -> None:
    begun = client.create_multipart_upload(**target, ChecksumAlgorithm="CRC32")
    target = target | {"UploadId": begun["UploadId"]}
    try:
        parts = _upload_parts(client, target, content)
        client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts}, **condition)
    except BaseException:
        # Parts of an unfinished upload are stored, and charged, until it is aborted. If this
        # fails too, the bucket's life-cycle rule for unfinished uploads removes them.
        with suppress(BotoCoreError, ClientError):
            client.abort_multipart_upload(**target)
        raise


def _upload_parts(
    client: "S3Client", target: dict[str, Any], content: Content
) -> "list[CompletedPartTypeDef]":
    part_bytes = _part_bytes(content.num_bytes)

    def upload_part(start: int) -> "CompletedPartTypeDef":
        number = start // part_bytes + 1
        body = content.read(start, part_bytes)
        answer = client.upload_part(
            **target, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32"
        )
        part: CompletedPartTypeDef = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:  # some stores check it but do not return it
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return part

    pool = ThreadPoolExecutor(PARALLEL_PARTS, thread_name_prefix="upload")
    try:
        return list(pool.map(upload_part, _starts(content.num_bytes, part_bytes)))
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure, do not start further parts


def num_requests(num_bytes: int, multipart_bytes: int) -> int:
    """Return the number of requests that ``upload`` makes for an object."""
    if num_bytes < multipart_bytes:
        return 1
    # One request begins the upload and one completes it.
    return len(list(_starts(num_bytes, _part_bytes(num_bytes)))) + 2


def _part_bytes(num_bytes: int) -> int:
    # S3 allows 10,000 parts, so the parts of a very large object are larger.
    return max(PART_BYTES, -(-num_bytes // MAX_PARTS))


def _starts(num_bytes: int, part_bytes: int) -> Iterator[int]:
    yield 0  # an empty object has one empty part
    yield from range(part_bytes, num_bytes, part_bytes)
