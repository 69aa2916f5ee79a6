"""Categories of the demo's captions and of a file's column."""

import gzip
from pathlib import Path

import pytest

from pipeline.demo.categories import scene_categories
from pipeline.errors import PromptFileError
from pipeline.evaluate.trial.categories import read_categories


def test_captions_have_the_categories_of_their_scenes() -> None:
    assert scene_categories(
        [
            "three red rings",
            "a small blue circle",
            "a red ring and a blue circle",
            "a red ring left of a red circle",
            "a photo of a cat",
        ]
    ) == {
        "three red rings": ("count: 3", "colour: red"),
        "a small blue circle": ("single object", "size words", "colour: blue"),
        "a red ring and a blue circle": ("two objects, and", "colour: blue", "colour: red"),
        "a red ring left of a red circle": ("two objects, relation", "colour: red"),
    }


def test_column_of_a_file_is_read_beside_its_prompts(tmp_path: Path) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text('"Prompts","Category"\n"A  red car, old.","Colors"\n"Two cats","Counting"\n')
    expected = {"A red car, old.": ("Colors",), "Two cats": ("Counting",)}
    assert read_categories(table, "Prompts", "Category") == expected
    lines = tmp_path / "prompts.jsonl"
    lines.write_text(
        '{"p": "A red car, old.", "c": "Colors"}\n\n{"p": "Two cats", "c": "Counting"}'
    )
    assert read_categories(lines, "p", "c") == expected


def test_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text("prompt,kind\nA cat,animals\n")
    with pytest.raises(PromptFileError, match="no column 'category'; has 'prompt', 'kind'"):
        read_categories(table, "prompt", "category")
    text = tmp_path / "prompts.txt"
    text.write_text("A cat\n")
    with pytest.raises(PromptFileError, match="has no columns"):
        read_categories(text, "prompt", "category")


def test_column_of_a_file_is_read_as_its_prompts_are(tmp_path: Path) -> None:
    table = tmp_path / "prompts.csv.gz"
    large = "x" * 200_000
    table.write_bytes(gzip.compress(f'prompt,page,kind\n"a\ncat",{large},animals\n\n'.encode()))
    assert read_categories(table, "prompt", "kind") == {"a cat": ("animals",)}
    lines = tmp_path / "prompts.jsonl"
    lines.write_text('{"prompt": "a cat", "kind": "animals"}\n{"prompt": null}\n')
    assert read_categories(lines, "prompt", "kind") == {"a cat": ("animals",)}
    for content in (
        '{"prompt": "a", "kind": ' + "[" * 100_000,
        '{"prompt": "a", "kind": 1, "kind": 2}',
    ):
        lines.write_text(content)
        with pytest.raises(PromptFileError, match=r"prompts\.jsonl:1: "):
            read_categories(lines, "prompt", "kind")
    table = tmp_path / "twice.csv"
    table.write_text("prompt,kind,kind\na,b,c\n")
    with pytest.raises(PromptFileError, match="2 columns have the name 'kind'"):
        read_categories(table, "prompt", "kind")
