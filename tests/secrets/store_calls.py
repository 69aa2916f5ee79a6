"""Calls on a store, also for Ray workers, which import this module by its name."""

import os
from collections.abc import Mapping

from pipeline.storage.open import open_store


def call_store(url: str, call: str) -> None:
    """Make one call. Raises the error of the store."""
    store = open_store(url)
    if call == "list":
        list(store.list(""))
    elif call == "put_if_absent":
        store.put_if_absent("key", b"")
    else:
        store.get("key")


def call_store_with(env: Mapping[str, str], url: str) -> None:
    """Make a call with other environment variables, and restore the environment."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        call_store(url, "get")
    finally:
        os.environ.clear()
        os.environ.update(before)
