"""What kind of prompt a prompt is: by a column of its file, or by the demo's grammar."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.demo.scenes import Scene, parse
from pipeline.errors import PromptFileError
from pipeline.identity import normalise_prompt

Categories = dict[str, tuple[str, ...]]
"""By prompt."""


def scene_categories(prompts: Iterable[str]) -> Categories:
    """Of captions in the demo's grammar: kind of scene, sizes and colours; others have none."""
    scenes = ((prompt, parse(prompt)) for prompt in prompts)
    return {prompt: _of_scene(scene) for prompt, scene in scenes if scene}


def read_categories(path: Path, column: str, category_column: str) -> Categories:
    """Of a CSV or JSONL file that has been read for its prompts: one each, from a column.

    Raises ``PromptFileError`` where there is no such column.
    """
    categories: Categories = {}
    for row in _rows(path):
        if row.get(category_column) is None:
            raise PromptFileError(
                f"{path}: no column {category_column!r}; has {', '.join(map(repr, row))}"
            )
        prompt = normalise_prompt(str(row[column]))
        categories[prompt] = (*categories.get(prompt, ()), str(row[category_column]))
    return categories


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    text = path.read_text("utf-8-sig")
    match path.suffix.lower():
        case ".csv":
            yield from csv.DictReader(io.StringIO(text, newline=""), strict=True)
        case ".jsonl" | ".ndjson":
            yield from (json.loads(line) for line in text.split("\n") if line.strip())
        case suffix:
            raise PromptFileError(
                f"{path}: a {suffix or 'text'} file has no columns; --category-column takes one of "
                "a .csv or .jsonl file"
            )


def _of_scene(scene: Scene) -> tuple[str, ...]:
    if scene.count > 1:
        kind = f"count: {scene.count}"
    elif scene.relation is None:
        kind = "single object"
    elif scene.relation == "and":
        kind = "two objects, and"
    else:
        kind = "two objects, relation"
    sizes = ("size words",) if any(thing.size for thing in scene.things) else ()
    colours = sorted({f"colour: {thing.colour}" for thing in scene.things})
    return (kind, *sizes, *colours)
