"""The messages that the troubleshooting page quotes exist in the code."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"

FROM_LIBRARIES = (
    "Unable to locate credentials",
    "DataLoader worker … is killed by signal: Bus error",
    "Failed to connect to GCS within 60 seconds",
    "The current node timed out during startup",
)
"""Quoted messages of boto3, PyTorch and Ray."""

_QUOTE = re.compile(r'"([^"]+)"')
_PLACEHOLDER = re.compile(r"\s*(?:…|\bHOST\b|\bN\b|`)\s*")
"""Placeholders in quotes, and the marks of inline code."""


def _symptoms() -> Iterator[str]:
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield line.split("|")[1]


QUOTES = [quote for symptom in _symptoms() for quote in _QUOTE.findall(symptom)]


@pytest.fixture(scope="module")
def messages() -> str:
    """All strings of the package, with … for the values in messages."""
    texts = []
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


@pytest.mark.parametrize("quote", QUOTES)
def test_quoted_message_is_in_the_code(quote: str, messages: str) -> None:
    if quote not in FROM_LIBRARIES:
        fragments = [each for each in _PLACEHOLDER.split(quote) if each]
        assert [each for each in fragments if each not in messages] == []
