"""``--json``: one object on standard output, with the keys that ``docs/json-output.md`` lists."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli.app import app, run
from pipeline.cli.json_output import show_json
from pipeline.storage import layout
from tests.sealed import Built, built, damaged

__all__ = ["built", "damaged"]

_PAGE = Path(__file__).parents[2] / "docs" / "json-output.md"


def documented(command: str) -> set[str]:
    """Return the keys that the page lists for a command."""
    section = re.search(
        rf"^## npd {command}\n(.*?)(?=^## |\Z)", _PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert section, f"no section about npd {command}"
    keys: set[str] = set()
    for row in re.findall(r"^\| (`.+?) \|", section[1], re.MULTILINE):
        prefix = ""
        for key in re.findall(r"`([^`]+)`", row):
            # ".b" repeats the prefix of the first key in its row.
            if not key.startswith("."):
                prefix = key.rpartition(".")[0]
            keys.add(f"{prefix}{key}" if key.startswith(".") else key)
    return keys


def paths(value: Any, maps: set[str], at: str = "") -> Iterator[str]:
    """Yield the key of each value in a JSON object, written as on the page."""
    if f"{at}{{}}" in maps:
        assert isinstance(value, dict)
        yield f"{at}{{}}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, maps, f"{at}.{key}" if at else key)
    elif isinstance(value, list) and all(isinstance(each, dict) for each in value) and value:
        for each in value:
            yield from paths(each, maps, f"{at}[]")
    else:
        yield at


def check_keys(command: str, found: dict[str, Any]) -> None:
    """Check that the keys of a result are documented, and that no documented key is missing."""
    listed = documented(command)
    maps = {key for key in listed if key.endswith("{}")}
    present = set(paths(found, maps))
    # An empty list has no elements whose keys could be compared.
    empty = {key for key in present if any(each.startswith(f"{key}[]") for each in listed)}
    # A section that is unknown is null.
    assert present - listed - empty == set()
    missing = {
        key for key in listed - present if not any(key.startswith(f"{each}[]") for each in empty)
    }
    assert missing == set()


def npd_json(*arguments: object, exit_code: int = 0) -> dict[str, Any]:
    """Run a command with ``--json`` and return what it printed."""
    ended = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert ended.exit_code == exit_code, ended.output
    (line,) = ended.stdout.splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_plan_without_models_has_no_id_and_published_speeds() -> None:
    found = npd_json("plan", "sdxl", "--gpus", 4)
    check_keys("plan", found)
    assert found["plan_id"] is None and found["missing"] and found["seconds"] is None
    assert found["published"][0]["gpu_seconds"] > 0


def test_verify_reports_damage_orphans_and_foreign_files(damaged: Path, built: Built) -> None:
    (damaged / layout.receipt_key(built.plan.plan_id, 1)).unlink()
    (damaged / layout.unit_key(built.plan.plan_id, 0, "f" * 64)).write_bytes(b"x")
    (damaged / "notes.txt").write_text("x", encoding="utf-8")
    found = npd_json("verify", damaged, exit_code=1)
    check_keys("verify", found)
    assert layout.receipt_key(built.plan.plan_id, 1) in [each["key"] for each in found["problems"]]
    assert [each["key"] for each in found["foreign"]] == ["notes.txt"]
    assert found["orphans"] and found["not_listed"] is None


def test_report_has_the_numbers_of_its_tables(damaged: Path, built: Built) -> None:
    found = npd_json("report", damaged)
    check_keys("report", found)
    (plan,) = found["plans"]
    gains = {row["reward"]: row for row in plan["candidates"][0]["rewards"]}
    assert gains.keys() == {"scene", "oracle"}
    text = (damaged / plan["keys"][0]).read_text("utf-8")
    assert f"{gains['scene']['gain']['value']:+.3f}" in text


def test_gc_lists_and_deletes(damaged: Path, built: Built) -> None:
    (damaged / layout.unit_key(built.plan.plan_id, 0, "f" * 64)).write_bytes(b"other")
    found = npd_json("gc", damaged)
    check_keys("gc", found)
    assert found["objects"][0]["is_too_young"] and found["garbage_objects"] == 0
    deleted = npd_json("gc", damaged, "--older-than", "0s", "--delete")
    check_keys("gc", deleted)
    assert deleted["is_deleted"] and deleted["garbage_bytes"] == 5


def test_select_and_prune(damaged: Path, built: Built) -> None:
    selected = npd_json("select", damaged, "--margin", "scene=0.05")
    check_keys("select", selected)
    assert (selected["version"], selected["is_new"]) == (2, True)
    pruned = npd_json("prune", damaged, "--delete")
    check_keys("prune", pruned)
    assert [each["version"] for each in pruned["versions"]] == [1]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["verify", "{empty}", "--json"], 2, "nothing is sealed"),
        (["gc", "ftp://host/x", "--json"], 2, "no store for ftp"),
        (["gc", "--json"], 2, "standard error"),
        (["gc", "{empty}", "--json", "--unknown"], 2, "standard error"),
    ],
)
def test_an_error_is_an_object_with_the_exit_code(
    arguments: list[str],
    code: int,
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(app, [word.format(empty=tmp_path / "empty") for word in arguments])
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == found["exit_code"] == code
    assert text in found["error"]


def test_text_from_data_reaches_the_terminal_as_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\x1b]0;title\x07 \x7f\u202e\u2028 <script> ü"
    show_json({"text": text, "number": math.nan, "other": -math.inf})
    printed = capsys.readouterr().out
    assert printed.isascii() and printed.removesuffix("\n").isprintable()
    assert json.loads(printed) == {"text": text, "number": None, "other": None}


def test_every_command_with_the_option_is_documented() -> None:
    commands = typer.main.get_command(app)
    with_option = {
        name
        for name, command in commands.commands.items()  # type: ignore[attr-defined]  # a group
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert with_option == set(re.findall(r"^## npd (\w+)$", _PAGE.read_text("utf-8"), re.MULTILINE))
