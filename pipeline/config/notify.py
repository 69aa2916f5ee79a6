"""Settings of notifications about a build (``[notify]``)."""

from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import PositiveInt, Section

EventName = Literal["sealed", "stopped", "failed", "failing", "drifting"]
"""``sealed``: the data set is complete. ``stopped``: stopped on request. ``failed``: ended with an
error. ``failing``: attempts fail in a row, or no unit is done for long. ``drifting``: the keep rate
has left its interval."""


class NotifyConfig(Section):
    """Messages about a build to a web server, such as a Slack webhook; part of no plan."""

    url: str | None = None
    """URL that receives each event as JSON by POST; ``text`` is the message. Unset: none."""
    url_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable with the URL, in place of url, because a webhook's URL is a secret."""
    events: Annotated[tuple[EventName, ...], Field(strict=False)] = get_args(EventName)
    """Events to send."""
    after_failures: PositiveInt = 5
    """Number of failed attempts in a row after which a build is failing."""
    after_seconds: Annotated[float, Field(gt=0)] = 1800.0
    """Seconds without a finished unit after which a build is failing."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is not None and not is_web_url(url):
            # The value is not repeated, because it is a secret.
            raise ValueError("is no URL like https://host/path")
        return url

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.url is not None and self.url_env is not None:
            raise ValueError("set url or url_env, not both")
        return self


def is_web_url(url: str) -> bool:
    """Return True for an absolute http or https URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable()
