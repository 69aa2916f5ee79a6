"""Environment variables that send requests through a proxy, for messages about failed requests."""

import os
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass


def proxy_variable(url: str, *, also_all: bool = False) -> str | None:
    """Return the name of the variable whose proxy is used for ``url``, or None without a proxy.

    ``also_all`` also considers ALL_PROXY, which httpx uses and botocore does not.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    if not parts.hostname or proxy_bypass(parts.netloc):
        return None
    schemes = (parts.scheme, "all") if also_all else (parts.scheme,)
    return next((_spelling(f"{scheme}_proxy") for scheme in schemes if proxies.get(scheme)), None)


def proxy_advice(url: str, variable: str) -> str:
    """Return what to do about the proxy of ``variable`` that does not serve ``url``."""
    exceptions = _spelling("no_proxy")
    return f"correct {variable} or unset it, or add {urlsplit(url).hostname} to {exceptions}"


def proxy_note(url: str, *, also_all: bool = False) -> str:
    """Return a sentence that names the proxy of requests to ``url``; empty without a proxy."""
    variable = proxy_variable(url, also_all=also_all)
    if variable is None:
        return ""
    return f". Requests go through the proxy of {variable}: {proxy_advice(url, variable)}"


def _spelling(name: str) -> str:
    """Return the variable that urllib reads for a name in lower case."""
    # In lower case it precedes all others; otherwise its letters may have any case.
    others = (each for each in os.environ if each.lower() == name and os.environ[each])
    return name if os.environ.get(name) else next(others, name.upper())
