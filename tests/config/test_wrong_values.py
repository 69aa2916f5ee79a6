"""Wrong values of every setting: one message with the key, the value and what is expected."""

import copy
import math
import re
import tomllib
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.config.file import BUNDLED, load_config
from pipeline.config.sections import Config
from pipeline.config.toml_file import TomlFile, kind_of, sections_in
from pipeline.core.errors import ConfigError
from pipeline.core.validation import explain, shown
from pipeline.storage.manifest import Manifest
from pipeline.storage.receipts import Receipt

Settings = dict[str, Any]

_VALUES: tuple[object, ...] = (
    *(True, 1, -1, 10**30, 1.5, math.inf, math.nan, "x", ""),
    *([], {}, [1], [{}], [["x"]], {"a": 1}, {"a": date(2020, 1, 1)}),
    *(date(2020, 1, 1), datetime(2020, 1, 1)),
)
"""A value of each type of TOML, of which most settings accept one type."""

_TERMS = re.compile(
    r"\b(Input|tuple|dict(ionary)?|string|str|integer|int|float|bool(ean)?|pydantic|should"
    r"|instance|None|another value)\b"
)
"""Words of Python and of pydantic. None may be in a message."""


def _nested(
    put: Callable[[Settings], Settings], key: str, section: type[BaseModel], annotation: object
) -> Callable[[Settings], Settings]:
    kind = {"kind": kind_of(section)} if len(sections_in(annotation)) > 1 else {}
    is_list = "tuple" in str(annotation)
    return lambda values: put({key: [{**kind, **values}] if is_list else {**kind, **values}})


def _cases(
    section: Any = Config, put: Callable[[Settings], Settings] = dict, path: str = ""
) -> Iterator[tuple[str, Callable[[Settings], Settings]]]:
    """Yield each key of each section, with a function that sets values of its section."""
    for key, field in section.model_fields.items():
        yield f"{path}{key}", put
        for inner in sections_in(field.annotation):
            nested = _nested(put, key, inner, field.annotation)
            yield from _cases(inner, nested, f"{path}{key}.")


def _merged(values: Settings) -> Settings:
    """Return the settings of the demo with some of them replaced."""
    merged: Settings = tomllib.loads((BUNDLED / "demo.toml").read_text(encoding="utf-8"))
    if values.keys() & {"npnet", "proposers"}:
        del merged["redenoise"]
    for key, value in values.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = {**before, **value}
        elif isinstance(before, list) and isinstance(value, list) and value:
            first = {**before[0], **value[0]} if isinstance(value[0], dict) else value[0]
            merged[key] = [first, *before[1:]]
        else:
            merged[key] = value
    return merged


def test_every_wrong_value_is_explained_in_plain_words() -> None:
    rejected = set()
    for path, put in _cases():
        key = path.rpartition(".")[2]
        for value in _VALUES:
            settings = _merged(put({key: copy.deepcopy(value)}))
            try:
                Config.model_validate(settings)
            except ValidationError as error:
                file = TomlFile(Path("build.toml"), settings, {})
                rejected.add(path)
                for line in str(file.error(error, Config)).splitlines():
                    _check(line, path, value)
    # Any text is a valid path or name of a field, and no number is.
    assert rejected == {path for path, _ in _cases()}


def _check(line: str, path: str, value: object) -> None:
    assert line.startswith("build.toml:1: ")
    place, _, wrong = line.removeprefix("build.toml:1: ").partition(": ")
    assert not _TERMS.search(line.partition("; got ")[0]), line
    if wrong.startswith("must be "):
        assert re.search(r"; got .", wrong), line
        # A wrong value in a list is named with its position.
        if re.sub(r"\.\d+", "", place) == path and not place[-1].isdigit():
            assert wrong.endswith(f"; got {shown(value)}"), line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('workers = "2"', 'cluster.workers: must be a whole number; got "2"'),
        ("workers = 1.5", "cluster.workers: must be a whole number; got 1.5"),
        ("workers = 0", "cluster.workers: must be at least 1; got 0"),
        ("max_attempts = true", "cluster.max_attempts: must be a whole number; got true"),
        ("gpus_per_worker = inf", "cluster.gpus_per_worker: must be a finite number; got inf"),
        ("hang_seconds = 0", "cluster.hang_seconds: must be more than 0; got 0"),
        (
            "cpu_offload = 1",
            "cluster.cpu_offload: must be one of none, model or sequential; got 1",
        ),
        (f'cpu_offload = "{"x" * 200}"', f'got "{"x" * 79}…'),
    ],
)
def test_wrong_value_names_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "build.toml"
    demo = (BUNDLED / "demo.toml").read_text(encoding="utf-8").partition("[cluster]")[0]
    path.write_text(f"{demo}[cluster]\n{text}\n", encoding="utf-8")
    line = len(path.read_text(encoding="utf-8").splitlines())
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:{line}: cluster.")
    assert message in str(caught.value)


@pytest.mark.parametrize("record", [Manifest, Receipt])
@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"schema_version": "x", "y": 1}'])
def test_damaged_record_is_explained_in_one_line(record: Any, data: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        record.model_validate_json(data)
    assert "\n" not in explain(caught.value)
    assert not re.search(r"pydantic|type=|Input|should", explain(caught.value))
