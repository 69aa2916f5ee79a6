"""The API reference documents what exists."""

import re
from importlib import import_module
from pathlib import Path

import pytest

_TARGET = re.compile(r"^\.\. auto(module|class|data|function):: ([\w.]+)$", re.MULTILINE)
_FOLDER = Path(__file__).parents[2] / "docs" / "api"

TARGETS = [
    match.groups()
    for page in sorted(_FOLDER.glob("*.rst"))
    for match in _TARGET.finditer(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("kind", "name"), TARGETS)
def test_what_is_documented_exists(kind: str, name: str) -> None:
    if kind == "module":
        import_module(name)
    else:
        module, _, attribute = name.rpartition(".")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, type) or kind != "class"


def test_every_page_of_the_reference_has_a_target() -> None:
    assert len(TARGETS) >= len(list(_FOLDER.glob("*.rst")))
