"""A real Chromium that opens pages and records everything that a page tries."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, or None. ``NPD_CHROMIUM`` names another one."""
    named = os.environ.get("NPD_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name))), None)


@dataclass
class Opened:
    """Page in the browser, with what it tried."""

    page: Page
    tried: list[str] = field(default_factory=list)
    """Dialogs, console messages, errors, violations of the policy, and requests of other files."""


@contextmanager
def opened(
    browser: Browser,
    file: Path,
    *,
    width: int = 400,
    scheme: Literal["light", "dark"] = "light",
) -> Iterator[Opened]:
    """Open a file in a window of a width and with a colour scheme."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    try:
        found = Opened(context.new_page())
        page, url = found.page, file.resolve().as_uri()
        page.on("dialog", lambda dialog: found.tried.append(f"dialog: {dialog.message}"))
        # Chromium reports violations of the policy in the console too.
        page.on("console", lambda message: found.tried.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: found.tried.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url == url or request.url.startswith("data:")
                else found.tried.append(f"request: {request.url}")
            ),
        )
        page.goto(url)
        yield found
    finally:
        context.close()
