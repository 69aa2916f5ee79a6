"""Custom classes that a configuration names as ``module:Class``: import and source digest."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from pipeline.core.determinism import preserve_settings
from pipeline.core.errors import EntryPointError
from pipeline.core.identity import file_sha256, folder_digest


def entry_digest(entry: str, code: str | None) -> str:
    """Return the SHA-256 of the source that defines an entry, without running it.

    For a single module this is the digest of its file. For a module in a package it covers all
    files of the outermost package, because the module may import any of them. Imports from
    elsewhere are not included.

    ``code`` is the folder that contains the module, or None if it is installed. Raise
    ``EntryPointError`` if the module does not exist.
    """
    module, _ = _parts(entry)
    origin = Path(_outermost(entry, module, code).origin or "")
    return folder_digest(origin.parent) if origin.name == "__init__.py" else file_sha256(origin)


def make_entry(entry: str, code: str | None, options: Mapping[str, Any]) -> Any:
    """Import an entry and call it with a copy of ``options``.

    Raise ``EntryPointError`` if it cannot be imported or does not accept these options.
    """
    module, name = _parts(entry)
    _outermost(entry, module, code)
    try:
        with custom_code(entry):
            made = getattr(importlib.import_module(module), name)
    except (ImportError, SyntaxError, AttributeError) as error:
        raise EntryPointError(f"{entry}: cannot be imported: {error}") from error
    try:
        with custom_code(entry):
            return made(**deepcopy(dict(options)))
    except (TypeError, ValueError) as error:
        raise EntryPointError(f"{entry}: refuses options {dict(options)}: {error}") from error


@contextmanager
def custom_code(what: str) -> Iterator[None]:
    """Run custom code, restore torch settings that it changes, and keep it from ending the process.

    ``what`` names it. Raise ``EntryPointError`` if it calls ``sys.exit``, which would end a command
    without an error.
    """
    try:
        with preserve_settings():
            yield
    except SystemExit as error:
        raise EntryPointError(
            f"{what}: tried to end the process with sys.exit({error.code!r}); custom code must "
            "raise an error instead"
        ) from error


def _parts(entry: str) -> tuple[str, str]:
    module, colon, name = entry.partition(":")
    if not (colon and name.isidentifier() and all(map(str.isidentifier, module.split(".")))):
        raise EntryPointError(f"{entry!r} is no entry; write module:Class, such as my_code:MyClass")
    return module, name


def _outermost(entry: str, module: str, code: str | None) -> ModuleSpec:
    """Return the spec of the outermost package of a module that has a file, or of the module."""
    if code is not None and code not in sys.path:
        # At the end, so that it shadows no installed module. It stays on the path, because the code
        # may import when it runs.
        sys.path.append(code)
        importlib.invalidate_caches()
    names = module.split(".")
    for depth in range(len(names)):
        spec = importlib.util.find_spec(".".join(names[: depth + 1]))
        if spec is None:
            break
        # A namespace package has no file. The search continues with the package inside it.
        if spec.has_location:
            _refuse_elsewhere(entry, spec, code)
            return spec
    place = "where Python looks (PYTHONPATH, installed packages)" if code is None else code
    raise EntryPointError(
        f"{entry}: no module {module!r} in {place}; set code to the folder that holds it, "
        "or install it on every machine"
    )


def _refuse_elsewhere(entry: str, spec: ModuleSpec, code: str | None) -> None:
    # ``code`` is last on the path, so Python would import an installed module of the same name.
    origin = Path(spec.origin or "").resolve()
    if code is not None and not origin.is_relative_to(Path(code).resolve()):
        raise EntryPointError(
            f"{entry}: Python finds {spec.name!r} at {origin} and not in {code}; rename the module"
        )
