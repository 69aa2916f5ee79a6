"""The clock of an S3 store, which dates its objects."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.storage.s3 import S3Store
from pipeline.storage.s3_errors import cause_of, store_error


def server_time(store: S3Store) -> datetime:
    """Return the time in the reply of a store, with a resolution of 1 s.

    A refusal has a time, too, so no permission is needed. A reply without a time gives the time of
    this machine. Raises ``StoreError`` if there is no reply.
    """
    try:
        reply = store.client.list_objects_v2(Bucket=store.bucket, Prefix=store.prefix, MaxKeys=1)
        headers = reply["ResponseMetadata"]["HTTPHeaders"]
    except ClientError as error:
        headers = error.response["ResponseMetadata"]["HTTPHeaders"]
    except BotoCoreError as error:
        raise store_error(error, f"read the clock of {store.url}", None) from cause_of(error)
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.now(UTC)
