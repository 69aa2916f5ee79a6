"""Configuration of the HTML site, which ``make docs`` builds with Sphinx."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version as package_version
from pathlib import Path
from types import SimpleNamespace
from typing import get_type_hints

from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring

from pipeline.config.options import describe_options
from pipeline.core.records import Record

project = "Noise Prompt Dataset"
release = package_version("noise-prompt-dataset")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]

# Pages are read where they lie in the repository, so one relative link works there and on the site.
root_doc = "README"
include_patterns = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**",
    "examples/README.md",
    "infra/README.md",
    "infra/storage/README.md",
    "pipeline/demo/README.md",
    "tests/models/rewards/reference/README.md",
]
exclude_patterns = [".*", "out", "**/__pycache__"]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
copybutton_prompt_text = "$ "

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4

# Docstrings mark code with one or two backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"exclude-members": "model_config"}
maximum_signature_line_length = 88

# Types of this package in a signature must have an entry. Those of other packages have none here.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!pipeline\.).*")]

_NAVIGATION = """
```{toctree}
:hidden:
:caption: Get started
Home <self>
examples/README
docs/operations
docs/monitoring
docs/reading
docs/training
docs/troubleshooting
```

```{toctree}
:hidden:
:caption: Use
docs/models
docs/families
docs/judges
docs/prompts
docs/proposers
docs/cost
Clusters <infra/README>
S3 and other stores <infra/storage/README>
```

```{toctree}
:hidden:
:caption: Concepts
ARCHITECTURE
docs/data-format
docs/versions
docs/benchmarks
docs/experiments
pipeline/demo/README
tests/models/rewards/reference/README
```

```{toctree}
:hidden:
:caption: Reference
docs/api/commands
docs/json-output
docs/api/configuration
docs/api/reader
docs/api/npnet
docs/api/protocols
docs/api/storage
docs/api/errors
CHANGELOG
CONTRIBUTING
SECURITY
```
"""


_ANNOTATED = re.compile(r"[~\w.]*Annotated\[(.+?), FieldInfo\([^()]*\)\]")
_LINK = re.compile(r"\]\(([\w./-]+)\)")


def _commands() -> str:
    """Return the reference of the commands of ``npd``, as typer prints it."""
    words = ["-m", "typer", "pipeline.cli.app", "utils", "docs", "--name", "npd"]
    text = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    return text.stdout[text.stdout.index("\n## ") :]


def _settings() -> Iterator[str]:
    """Yield the reference of all configuration keys as Markdown."""
    for line in describe_options():
        if line.startswith("["):
            header, _, meaning = line.partition("  # ")
            yield f"\n## `{header}`\n\n{meaning}\n"
        elif line.startswith("    "):
            yield f": {line.strip()}\n"
        elif line:
            yield f"`{line}`"


def _complete(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the navigation to the home page, and generated text to the pages of a reference."""
    folder = (Path(app.srcdir) / page).parent
    source[0] = _LINK.sub(lambda link: _to_readme(folder, link[1]) or link[0], source[0])
    if page == "README":
        source[0] += _NAVIGATION
    elif page == "docs/api/commands":
        source[0] += _commands()
    elif page == "docs/api/configuration":
        source[0] += "\n".join(_settings())


def _to_readme(folder: Path, target: str) -> str | None:
    """Return a link to the README of a folder, which repository hosts show for the folder."""
    readme = Path(target) / "README.md"
    return f"]({readme})" if (folder / readme).is_file() else None


def _parse_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Format the sections of a docstring in Google's style, such as ``Args:``.

    The extension ``sphinx.ext.napoleon`` would also parse the docstrings of attributes. There it
    takes the words before a colon for a type.
    """
    if what not in ("attribute", "data", "property"):
        lines[:] = GoogleDocstring(lines).lines()


def _simplify_types(
    app: Sphinx, what: str, name: str, obj: type, options: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """Leave the bounds of pydantic fields out of signatures and types.

    The arguments of a ``Record`` are its fields, so its signature would only repeat them.
    A protocol has no arguments.
    """
    if what == "class" and issubclass(obj, Record):
        fields = SimpleNamespace(__annotations__=vars(obj).get("__annotations__", {}))
        obj.__annotations__ = get_type_hints(fields)
        return "", ""
    if signature == "(*args, **kwargs)":
        return "", ""
    if signature:
        return _ANNOTATED.sub(r"\1", signature), returns
    return None


def _add_index(app: Sphinx, error: Exception | None) -> None:
    """Copy the home page to ``index.html``, which web servers look for."""
    if error is None:
        out = Path(app.outdir)
        shutil.copyfile(out / "README.html", out / "index.html")


def setup(app: Sphinx) -> None:
    """Connect the functions of this file to the build."""
    # autodoc sets annotations of base classes, with which pydantic cannot create a subclass later.
    import_module("pipeline.config.plan")
    app.connect("source-read", _complete)
    app.connect("autodoc-process-docstring", _parse_docstring)
    app.connect("autodoc-process-signature", _simplify_types)
    app.connect("build-finished", _add_index)
