"""Rendering of pages from templates, with a policy that forbids everything else.

A page is one file. It loads nothing, works offline, and runs no script except the one in
``templates/filter.js``. The policy names style and script by their digests, so text that became
markup through a mistake could neither run nor load anything.
"""

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.core.escape import for_page

_PACKAGE = "pipeline.evaluate.pages"


def render(template: str, *, has_filter: bool = False, **content: object) -> str:
    """Return a page as HTML. ``has_filter`` adds the script that filters pairs."""
    environment = _environment()
    style = _file("style.css")
    script = _file("filter.js") if has_filter else None
    return environment.get_template(template).render(
        content, policy=_policy(style, script), style=style, script=script
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        # A misspelled name in a template raises instead of rendering as nothing.
        undefined=StrictUndefined,
        # Runs on every value before it is escaped.
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:.6g}"
    return environment


def _visible(value: object) -> object:
    """Show control characters of a text as escapes. Markup comes from templates and stays."""
    return for_page(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _file(name: str) -> Markup:
    """Return a file of the templates without changes, to be placed in its element."""
    loader = _environment().loader
    assert loader is not None, "the environment has a loader"
    return Markup(loader.get_source(_environment(), name)[0])


def _policy(style: Markup, script: Markup | None) -> str:
    """Return the Content-Security-Policy of a page with this style and script."""
    scripts = "'none'" if script is None else _hash(script)
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
