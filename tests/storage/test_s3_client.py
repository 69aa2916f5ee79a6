"""The client: what it does otherwise than boto3 does by itself."""

import pytest
from botocore.utils import parse_timestamp

from pipeline.storage.s3_client import _read_time


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
    assert time == parse_timestamp(text)
    assert time.utcoffset() is not None
