"""Text from data does nothing in a terminal and in Markdown."""

import io

import pytest
from rich.console import Console

from pipeline.cli import console as output
from pipeline.core.errors import UserError
from pipeline.core.escape import for_markdown, for_page, for_terminal, for_terminal_line
from pipeline.evaluate.document import ReportSection, Table, to_markdown

HOSTILE = "a\x1b[31m\x1b]8;;http://x\x07b\u202ec\x9bd[red]e[link=http://x]f"


def test_printable_text_stays() -> None:
    text = "ein Hündchen, 犬, 🐕 [0.1, 0.2], p < 0.01"
    assert for_terminal(text) == for_terminal_line(text) == for_markdown(text) == text
    assert for_terminal("a\n\tb") == "a\n\tb"
    assert for_terminal_line("a\nb") == r"a\nb"


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066"])
def test_no_control_character_is_left(character: str) -> None:
    for escape in (for_terminal, for_terminal_line, for_markdown):
        escaped = escape(f"a{character}b")
        assert character not in escaped
        assert escaped.isprintable()


@pytest.mark.parametrize(
    "character", ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u200e", "\ud800"]
)
def test_page_shows_characters_that_would_act_on_it(character: str) -> None:
    assert for_page(f"a{character}b").encode() == f"a{character!a}b".replace("'", "").encode()


def test_page_keeps_joiners_that_scripts_and_emoji_need() -> None:
    text = "می\u200cخواهم 👩\u200d🚀\n\tnext"
    assert for_page(text) == text


def test_console_and_results_are_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output.console, "_force_terminal", True)
    with output.console.capture() as capture:
        output.console.print(f"error: {HOSTILE}", soft_wrap=True)
    output.show(HOSTILE)
    for text in (capture.get(), capsys.readouterr().out):
        assert r"\u202ec\x9bd[red]e[link=http://x]f" in text
        assert "\x1b" not in text


def test_errors_are_escaped() -> None:
    assert "\x1b" not in str(UserError(HOSTILE))
    assert str(UserError("a\nb")) == "a\nb"


def test_console_without_the_hook_passes_control_characters_on() -> None:
    file = io.StringIO()
    Console(file=file, highlight=False, markup=False).print(HOSTILE, soft_wrap=True)
    assert "\x1b[31m" in file.getvalue()


def test_markdown_shows_names_as_text() -> None:
    name = "<script>alert(1)</script> | [x](javascript:alert(1))\n# heading"
    text = to_markdown([ReportSection(name, [name, Table(["name", "n"], [[name, "1"]])])])
    assert "\n# heading" not in text
    assert r"\<script>" in text
    assert " <script>" not in text
    assert "](" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.replace(r"\|", "").count("|") for row in rows} == {3}
