"""A class of the user's own, named ``module:Class``: found, imported, and known by its source."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from copy import deepcopy
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from pipeline.determinism import settings_kept
from pipeline.errors import EntryPointError
from pipeline.identity import file_sha256, folder_digest


def entry_digest(entry: str, code: str | None) -> str:
    """SHA-256 of the source in which an entry is defined; nothing of it is run.

    Of a module by itself that is its file, of one in a package the whole outermost package with all
    its files: what a module imports from its own package decides as much as the module. What it
    imports from elsewhere does not count.

    ``code`` is the folder in which the module lies; None for what is installed. Raises
    ``EntryPointError`` if there is no such module.
    """
    module, _ = _parts(entry)
    origin = Path(_outermost(entry, module, code).origin or "")
    return folder_digest(origin.parent) if origin.name == "__init__.py" else file_sha256(origin)


def make_entry(entry: str, code: str | None, options: Mapping[str, Any]) -> Any:
    """Import an entry and call it with a copy of ``options``.

    Raises ``EntryPointError`` if it is not there, or does not take these options.
    """
    module, name = _parts(entry)
    _outermost(entry, module, code)
    try:
        with settings_kept():
            made = getattr(importlib.import_module(module), name)
    except (ImportError, SyntaxError, AttributeError) as error:
        raise EntryPointError(f"{entry}: cannot be imported: {error}") from error
    try:
        with settings_kept():
            return made(**deepcopy(dict(options)))
    except (TypeError, ValueError) as error:
        raise EntryPointError(f"{entry}: refuses options {dict(options)}: {error}") from error


def _parts(entry: str) -> tuple[str, str]:
    module, colon, name = entry.partition(":")
    if not (colon and name.isidentifier() and all(map(str.isidentifier, module.split(".")))):
        raise EntryPointError(f"{entry!r} is no entry; write module:Class, as my_code:MyClass")
    return module, name


def _outermost(entry: str, module: str, code: str | None) -> ModuleSpec:
    """Where the outermost package of a module is defined that has a file, or the module itself."""
    if code is not None and code not in sys.path:
        # At the end and for good: it shadows nothing, and its code may import when it runs.
        sys.path.append(code)
        importlib.invalidate_caches()
    names = module.split(".")
    for depth in range(len(names)):
        spec = importlib.util.find_spec(".".join(names[: depth + 1]))
        if spec is None:
            break
        if spec.has_location:
            _refuse_elsewhere(entry, spec, code)
            return spec
    place = "where Python looks (PYTHONPATH, installed packages)" if code is None else code
    raise EntryPointError(
        f"{entry}: no module {module!r} in {place}; set code to the folder that holds it, "
        "or install it on every machine"
    )


def _refuse_elsewhere(entry: str, spec: ModuleSpec, code: str | None) -> None:
    origin = Path(spec.origin or "").resolve()
    if code is not None and not origin.is_relative_to(Path(code).resolve()):
        raise EntryPointError(
            f"{entry}: Python finds {spec.name!r} at {origin} and not in {code}; rename the module"
        )
