"""Notifications by HTTP: events of a build as JSON to one URL.

A build neither waits for a notification nor fails because of one. A thread sends them, a time limit
applies to each, and a queue of bounded length drops what a server does not accept in time. The URL
is a secret: it is neither logged nor followed to another place.
"""

import json
import logging
import os
import socket
import threading
import urllib.request
from http.client import HTTPException
from queue import Full, Queue
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from pipeline.config.notify import NotifyConfig, is_web_url
from pipeline.core.escape import for_terminal_line
from pipeline.monitor.alarms import Event

logger = logging.getLogger(__name__)

_WAITING = 20
"""Number of events that may wait. More are dropped."""

_SEND_S = 10.0
"""Seconds for each step of a request: connecting, sending, and waiting for the reply."""

_CLOSE_S = 10.0
"""Seconds that the end of a build waits for the last events."""

_TEXT = 1000
"""Maximum number of characters of a message. Errors may quote prompts of any length."""


class Notifier:
    """Sends events of one build to a URL.

    ``facts`` are part of every message: the plan, the store, the host.
    """

    def __init__(self, url: str, config: NotifyConfig, facts: dict[str, str]) -> None:
        self._url = url
        self._events = set(config.events)
        self._facts = facts
        self._queue: Queue[Event | None] = Queue(_WAITING)
        self._warned = False
        # A daemon, so that a server that does not answer cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name="npd-notify", daemon=True)
        self._thread.start()

    def send(self, event: Event) -> None:
        """Send an event soon, if the configuration asks for it. Returns at once."""
        if event.name not in self._events:
            return
        try:
            self._queue.put_nowait(event)
        except Full:
            self._warn("too many events wait to be sent")

    def close(self) -> None:
        """Send what is waiting, for a limited time."""
        try:
            self._queue.put_nowait(None)
        except Full:
            return
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._post(_body(event, self._facts))
            # HTTP errors and redirects are OSErrors too. ValueError: a URL that urllib rejects.
            except (OSError, HTTPException, ValueError) as error:
                self._warn(_reason(error))

    def _post(self, body: bytes) -> None:
        request = urllib.request.Request(
            self._url, data=body, headers={"Content-Type": "application/json"}, method="POST"
        )
        with _OPENER.open(request, timeout=_SEND_S):
            pass

    def _warn(self, why: str) -> None:
        if not self._warned:
            host = for_terminal_line(urlsplit(self._url).hostname or "")
            logger.warning(
                "a notification could not be sent to %s (%s); the build goes on, and further "
                "failures are not reported",
                host,
                why,
            )
        self._warned = True


def notifier_of(config: NotifyConfig, plan_id: str, store_url: str) -> Notifier | None:
    """Return the notifier of a build, or None if none is configured or its variable is unusable."""
    url = config.url if config.url_env is None else os.environ.get(config.url_env, "")
    if url is None:
        return None
    if not is_web_url(url):
        logger.warning(
            "no notifications: the variable %s, which [notify] url_env names, holds no URL like "
            "https://host/path",
            config.url_env,
        )
        return None
    facts = {"plan_id": plan_id, "store": store_url, "host": socket.gethostname()}
    return Notifier(url, config, facts)


def _reason(error: Exception) -> str:
    """Return what is wrong without the message of the error, which may repeat the URL."""
    if isinstance(error, HTTPError):
        return f"status {error.code}"
    # urllib wraps errors of the network.
    cause = error.reason if isinstance(error, URLError) else error
    name = type(cause if isinstance(cause, Exception) else error).__name__
    # The text of the system for an error number, such as "Connection refused".
    text = cause.strerror if isinstance(cause, OSError) else None
    return f"{name}: {for_terminal_line(text)}" if text else name


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Rejects redirects, which would send the message to a place that nobody configured."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _body(event: Event, facts: dict[str, str]) -> bytes:
    place = f"(plan {facts['plan_id']} in {facts['store']}, from {facts['host']})"
    text = for_terminal_line(f"{event.name}: {event.text[:_TEXT]} {place}")
    # In Slack's markup these three characters start links and mentions of everybody.
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escaped)
    return json.dumps({"text": text, "event": event.name, **facts, **event.numbers}).encode()
