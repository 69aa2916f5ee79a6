"""Prompt files, well formed and not."""

import csv
import json
from pathlib import Path

import pytest

from pipeline.errors import PromptFileError
from pipeline.stages.prompts import PromptFormat, read_prompts


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _read(path: Path, file_format: PromptFormat | None = None) -> tuple[str, ...]:
    return read_prompts(path, file_format, "prompt").prompts


def _error(path: Path, file_format: PromptFormat | None = None) -> str:
    with pytest.raises(PromptFileError) as caught:
        read_prompts(path, file_format, "prompt")
    return str(caught.value)


PROMPTS = ("a red ring", 'a "quoted", comma', "ein größeres Quadrat", "二つの円")


def test_text_a_line_a_prompt_in_order(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, "p.txt", "\r\n".join(PROMPTS))) == PROMPTS


def test_jsonl_column_in_order(tmp_path: Path) -> None:
    lines = [json.dumps({"id": i, "prompt": prompt}) for i, prompt in enumerate(PROMPTS)]
    assert _read(_write(tmp_path, "p.jsonl", "\n".join(lines) + "\n\n")) == PROMPTS


def test_csv_column_in_order(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "prompt"), *enumerate(PROMPTS)])
    assert _read(path) == PROMPTS


def test_csv_line_break_within_quotes_is_white_space(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, "p.csv", 'prompt\n"a red\nring"\n')) == ("a red ring",)


def test_column_another_name_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path, "p.csv", "prompt,caption\na,b\n")
    assert read_prompts(path, None, "caption").prompts == ("b",)


def test_format_given_overrides_the_suffix(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, "p.csv", "a, b, c\n"), "text") == ("a, b, c",)


def test_format_unknown_suffix_asks_for_it(tmp_path: Path) -> None:
    assert "set prompts.format" in _error(_write(tmp_path, "p.dat", "a\n"))


def test_duplicates_that_read_alike_are_left_out_and_counted(tmp_path: Path) -> None:
    text = "a red ring\n\n  a  red ring \na caf\u0065\u0301\na caf\u00e9\nb\na red ring\n"
    found = read_prompts(_write(tmp_path, "p.txt", text), None, "prompt")
    assert found.prompts == ("a red ring", "a caf\u00e9", "b")
    assert (found.num_read, found.num_duplicates) == (6, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.txt", "a\n"), ("p.jsonl", '{"prompt": "a"}\n'), ("p.csv", "prompt\na\n")],
)
def test_byte_order_mark_is_no_part_of_the_prompt(tmp_path: Path, name: str, content: str) -> None:
    assert _read(_write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())) == ("a",)


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.csv"])
def test_not_utf8_names_the_line(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path, name, b"prompt\ngut\ngr\xfcn\n")
    assert _error(path) == f"{path}:3: not UTF-8 (byte 0xfc); save the file as UTF-8"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", ""),
        ("p.txt", " \n\t\n"),
        ("p.jsonl", "\n"),
        ("p.jsonl", '{"prompt": " "}'),
        ("p.csv", "prompt\n"),
    ],
)
def test_empty_is_said(tmp_path: Path, name: str, content: str) -> None:
    path = _write(tmp_path, name, content)
    assert _error(path) == f"{path}: holds no prompt"


def test_csv_without_header_is_said(tmp_path: Path) -> None:
    assert "a CSV header was expected" in _error(_write(tmp_path, "p.csv", ""))


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.csv"])
def test_missing_is_said(tmp_path: Path, name: str) -> None:
    assert _error(tmp_path / name) == f"{tmp_path / name}: no such prompt file"


def test_folder_in_its_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "p.txt").mkdir()
    assert "cannot be read" in _error(tmp_path / "p.txt")


@pytest.mark.parametrize(
    ("third_line", "said"),
    [
        ("{not json}", "not JSON"),
        ('["a"]', "a JSON object was expected"),
        ('{"text": "a"}', "no field 'prompt'; has 'text'"),
        ('{"prompt": 3}', "'prompt' is not a string: 3"),
        ('{"prompt": null}', "'prompt' is not a string: None"),
        ('{"prompt": "\\ud800"}', "'prompt' holds half of a surrogate pair"),
    ],
)
def test_jsonl_malformed_names_the_line(tmp_path: Path, third_line: str, said: str) -> None:
    path = _write(tmp_path, "p.jsonl", f'{{"prompt": "a"}}\n\n{third_line}\n')
    assert _error(path).startswith(f"{path}:3: {said}")


@pytest.mark.parametrize(
    ("rows", "line", "said"),
    [
        ("1,a red ring, big", 3, "the row has not the 2 fields of the header"),
        ("1", 3, "the row has not the 2 fields of the header"),
        ('1,"open', 3, "malformed CSV"),
        ('1,"a" b', 3, "malformed CSV"),
    ],
)
def test_csv_malformed_names_the_line(tmp_path: Path, rows: str, line: int, said: str) -> None:
    path = _write(tmp_path, "p.csv", f"id,prompt\n0,fine\n{rows}\n")
    assert _error(path).startswith(f"{path}:{line}: {said}")


def test_csv_last_column_missing_is_not_taken_for_a_prompt(tmp_path: Path) -> None:
    path = _write(tmp_path, "p.csv", "prompt,id\na red ring\n")
    assert _error(path).startswith(f"{path}:2: the row has not the 2 fields")


def test_csv_header_malformed_is_a_prompt_file_error(tmp_path: Path) -> None:
    assert "malformed CSV" in _error(_write(tmp_path, "p.csv", '"prompt'))


def test_csv_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    path = _write(tmp_path, "p.csv", "id,caption\n0,a\n")
    assert _error(path) == (
        f"{path}:1: no column 'prompt'; has 'id', 'caption'; set prompts.column"
    )
