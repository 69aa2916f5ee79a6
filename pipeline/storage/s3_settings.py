"""Settings that no S3 client can use and that would carry a secret into messages: refused at once.

botocore repeats its endpoint, and http.client a header that it rejects, in the text of errors. What
is refused here never gets that far, and these messages do not repeat it.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def check_credentials(environ: Mapping[str, str]) -> None:
    """Refuse credentials with white space: mostly the line break at the end of a secret's file.

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
    """Refuse an endpoint that is more than scheme, host, port and path.

    User info and a query are of no use there: requests are signed with the access key. Raises
    ``ValueError``.
    """
    if any(mark in url for mark in "@?#"):  # not by its parts: a password may hold a slash
        host = urlsplit(f"//{url.rpartition('@')[2].rpartition('://')[2]}").netloc
        raise ValueError(
            f"the endpoint at {host} is given with user info, a query "
            "or a fragment, of which S3 makes no use: take them out, and give credentials in "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
