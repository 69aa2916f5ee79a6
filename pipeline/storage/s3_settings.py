"""Early rejection of unusable S3 settings that would put a secret into error messages.

botocore repeats the endpoint in its errors, and http.client repeats a header that it rejects. The
checks here run first, and their messages do not repeat the value.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def check_credentials(environ: Mapping[str, str]) -> None:
    """Reject credentials with white space, mostly the line break at the end of a secret's file.

    Raises ``ValueError``.
    """
    for name in _CREDENTIALS:
        text = environ.get(name, "")
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(
                f"{name} holds white space, a line break or another character that no credential "
                "has; set it without"
            )


def check_endpoint(url: str) -> None:
    """Reject an endpoint with more than scheme, host, port and path.

    User info and a query have no effect, because requests are signed with the access key.
    Raises ``ValueError``.
    """
    if any(mark in url for mark in "@?#"):  # not urlsplit: a password may contain a slash
        host = urlsplit(f"//{url.rpartition('@')[2].rpartition('://')[2]}").netloc
        raise ValueError(
            f"the endpoint at {host} is given with user info, a query "
            "or a fragment, of which S3 makes no use: take them out, and give credentials in "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
