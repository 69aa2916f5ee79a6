"""Text, JSONL, CSV and TSV, well formed and not."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.prompts.reading import error_of, rows_of


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _read(path: Path, **options: Any) -> tuple[str, ...]:
    return tuple(text for text in rows_of(path, **options) if text)


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
    assert _read(path, column="caption") == ("b",)


def test_format_given_overrides_the_suffix(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, "p.csv", "a, b, c\n"), format="text") == ("a, b, c",)


def test_format_unknown_suffix_asks_for_it(tmp_path: Path) -> None:
    assert "set format to one of" in error_of(_write(tmp_path, "p.dat", "a\n"))


def test_tsv_column_in_order(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows(
            [("prompt", "id"), *zip(PROMPTS, "1234", strict=True)]
        )
    assert _read(path, quotes="csv") == PROMPTS


def test_text_and_jsonl_blank_lines_and_null_are_rows_without_a_prompt(tmp_path: Path) -> None:
    assert rows_of(_write(tmp_path, "p.txt", "a\n \n\nb\n")) == ["a", "", "", "b"]
    lines = '{"prompt": "a"}\n\n{"prompt": null}\n{"prompt": "b"}\n'
    assert rows_of(_write(tmp_path, "p.jsonl", lines)) == ["a", "", "", "b"]


def test_rows_are_normalised(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, "p.txt", "  a  red\tring \ncaf\u0065\u0301\n")) == (
        "a red ring",
        "caf\u00e9",
    )


def test_limit_reads_the_first_rows_and_not_what_follows(tmp_path: Path) -> None:
    path = _write(tmp_path, "p.jsonl", '{"prompt": "a"}\n{"prompt": "b"}\nnot JSON\n')
    assert rows_of(path, limit=2) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.txt", "a\n"), ("p.jsonl", '{"prompt": "a"}\n'), ("p.csv", "prompt\na\n")],
)
def test_byte_order_mark_is_no_part_of_the_prompt(tmp_path: Path, name: str, content: str) -> None:
    assert _read(_write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())) == ("a",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", b"a\ngut\ngr\xfcn\n"),
        ("p.csv", b"prompt\ngut\ngr\xfcn\n"),
        ("p.jsonl", b'{"prompt": "a"}\n\n{"prompt": "gr\xfcn"}\n'),
    ],
)
def test_not_utf8_names_the_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = _write(tmp_path, name, content)
    assert error_of(path) == f"{path}:3: not UTF-8 (byte 0xfc); save the file as UTF-8"


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
def test_empty_is_reported(tmp_path: Path, name: str, content: str) -> None:
    path = _write(tmp_path, name, content)
    assert error_of(path) == f"{path}: contains no prompts"


def test_csv_without_header_is_reported(tmp_path: Path) -> None:
    assert "a header was expected" in error_of(_write(tmp_path, "p.csv", ""))


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.csv"])
def test_missing_is_reported(tmp_path: Path, name: str) -> None:
    assert error_of(tmp_path / name) == f"{tmp_path / name}: no such prompt file"


def test_folder_in_its_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "p.txt").mkdir()
    assert "not written by save_to_disk" in error_of(tmp_path / "p.txt")


@pytest.mark.parametrize(
    ("third_line", "message"),
    [
        ("{not json}", "not JSON"),
        ('["a"]', "a JSON object was expected"),
        ('{"text": "a"}', "no field 'prompt'; has 'text'"),
        ('{"prompt": 3}', "'prompt' is not a string: 3"),
        ('{"prompt": "\\ud800"}', "'prompt' contains half of a surrogate pair"),
    ],
)
def test_jsonl_malformed_names_the_line(tmp_path: Path, third_line: str, message: str) -> None:
    path = _write(tmp_path, "p.jsonl", f'{{"prompt": "a"}}\n\n{third_line}\n')
    assert error_of(path).startswith(f"{path}:3: {message}")


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ("1,a red ring, big", 3, "the row has 3 fields, and the header has 2"),
        ("1", 3, "the row has 1 fields, and the header has 2"),
        ('1,"open', 3, "malformed CSV"),
        ('1,"a" b', 3, "malformed CSV"),
    ],
)
def test_csv_malformed_names_the_line(tmp_path: Path, rows: str, line: int, message: str) -> None:
    path = _write(tmp_path, "p.csv", f"id,prompt\n0,fine\n{rows}\n")
    assert error_of(path).startswith(f"{path}:{line}: {message}")


def test_csv_last_column_missing_is_not_taken_for_a_prompt(tmp_path: Path) -> None:
    path = _write(tmp_path, "p.csv", "prompt,id\na red ring\n")
    assert error_of(path).startswith(f"{path}:2: the row has 1 fields")


def test_csv_header_malformed_is_a_prompt_fileerror_of(tmp_path: Path) -> None:
    assert "malformed CSV" in error_of(_write(tmp_path, "p.csv", '"prompt'))


def test_csv_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    path = _write(tmp_path, "p.csv", "id,caption\n0,a\n")
    assert error_of(path) == (f"{path}:1: no column 'prompt'; has 'id', 'caption'; set column")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "a cat\ra dog\ra bird\r"),
        ("p.jsonl", '{"prompt": "a"}\r{"prompt": "b"}\r'),
        ("p.csv", "prompt\ra\rb\r"),
        ("p.tsv", "prompt\tid\ra\t1\r"),
    ],
)
def test_old_mac_line_ends_are_refused(tmp_path: Path, name: str, content: str) -> None:
    path = _write(tmp_path, name, content)
    assert error_of(path).startswith(f"{path}:1: a carriage return within the line")


def test_text_unicode_separators_do_not_end_a_line(tmp_path: Path) -> None:
    content = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\r\nh\n"
    assert rows_of(_write(tmp_path, "p.txt", content)) == ["a b c d e f g", "h"]
    lines = json.dumps({"prompt": "a\u2028b"}, ensure_ascii=False) + "\n"
    assert rows_of(_write(tmp_path, "p.jsonl", lines)) == ["a b"]
    assert rows_of(_write(tmp_path, "p.csv", f"prompt\n{content}")) == ["a b c d e f g", "h"]


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.csv", "p.tsv"])
def test_other_encodings_are_named(tmp_path: Path, name: str) -> None:
    text = "prompt\nä cat\n"
    for encoding, message in (
        ("utf-16", "UTF-16 and not UTF-8"),
        ("utf-32", "UTF-32 and not UTF-8"),
    ):
        path = _write(tmp_path, name, text.encode(encoding))
        assert error_of(path).startswith(f"{path}: {message}; save the file as UTF-8")
    path = _write(tmp_path, name, "prompt\na cat\n".encode("utf-16-le"))
    assert error_of(path).startswith(f"{path}:1: a NUL byte")


@pytest.mark.parametrize(
    ("third_line", "message"),
    [
        ('{"id": ' + "1" * 5000 + ', "prompt": "a"}', "JSON that cannot be parsed: Exceeds the"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"prompt": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"prompt": "a", "prompt": "b"}', "the key 'prompt' occurs twice"),
        ('{"prompt": NaN}', "'prompt' is not a string: nan"),
        ('{"prompt": "a"} {"prompt": "b"}', "not JSON: Extra data"),
    ],
    ids=["digits", "nested", "nested beside", "twice", "nan", "two"],
)
def test_jsonl_strange_names_the_line(tmp_path: Path, third_line: str, message: str) -> None:
    path = _write(tmp_path, "p.jsonl", f'{{"prompt": "a"}}\n\n{third_line}\n')
    assert error_of(path).startswith(f"{path}:3: {message}")


def test_jsonl_array_of_a_whole_file_is_reported(tmp_path: Path) -> None:
    path = _write(tmp_path, "p.json", '[{"prompt": "a"},\n {"prompt": "b"}]\n')
    assert "one object on each line" in error_of(path)
