"""Calls on a store, here and on a Ray worker (which finds them by the name of this module)."""

import os
from collections.abc import Mapping

from pipeline.storage.open import open_store


def call_store(url: str, call: str) -> None:
    """Make one call that reads or writes; raises what the store raises."""
    store = open_store(url)
    if call == "list":
        list(store.list(""))
    elif call == "put_if_absent":
        store.put_if_absent("key", b"")
    else:
        store.get("key")


def call_store_with(env: Mapping[str, str], url: str) -> None:
    """The same with settings that a worker did not inherit, and that it shall not keep."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        call_store(url, "get")
    finally:
        os.environ.clear()
        os.environ.update(before)
