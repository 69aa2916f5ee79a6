"""Validation of object keys: only keys that mean the same on S3 and on any file system."""

import re

RESERVED = ".npd-"
"""Prefix of the local store's internal files; no part of a key may start with it."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")

_MAX_KEY_BYTES = 1024  # S3's limit
_MAX_PART_BYTES = 255  # of a file name on ext4, XFS, APFS


def check_key(key: str) -> str:
    """Return the key unchanged. Raises ``ValueError`` for one that some store could misread."""
    fault = _fault(key)
    if fault:
        raise ValueError(f"key {key!r}: {fault}; keys look like 'units/<plan_id>/000001.arrow'")
    return key


def printable(key: str) -> str:
    """Escape characters that a terminal would not print; foreign files may have any name."""
    return key if key.isprintable() else ascii(key)[1:-1]


def _fault(key: str) -> str | None:
    if not key:
        return "is empty"
    if key.startswith("/") or key.endswith("/"):
        return "starts or ends with '/'"
    if len(key.encode()) > _MAX_KEY_BYTES:
        return f"is longer than {_MAX_KEY_BYTES} bytes"
    if _UNSAFE.search(key):
        return "contains a control character or a backslash"
    for part in key.split("/"):
        if part in ("", ".", ".."):
            return f"has a part {part!r}"
        if part.startswith(RESERVED):
            return f"has a part that starts with {RESERVED!r}, which is reserved"
        if len(part.encode()) > _MAX_PART_BYTES:
            return f"has a part longer than {_MAX_PART_BYTES} bytes"
    return None
