"""Selection of prompts with all filters: kept and dropped prompts, reasons and counts."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.config.file import BUNDLED
from pipeline.config.prompts import PromptsConfig
from pipeline.core.errors import PromptChoiceError, PromptFileError
from pipeline.core.identity import file_sha256, sha256
from pipeline.prompts.choosing import (
    DROPPED_COLUMNS,
    ChosenPrompts,
    choose_prompts,
    distinct_prompts,
)

MODEL, LIMITS = BUNDLED / "model", {"tokenizer": None}
TEXT = [
    "a red ring",
    "",
    "a  red ring ",
    "a gory blue circle above a green square",
    "a blue circle above a green square, gore",
    "a blue circle above a green square",
    "a blue circle above a green square!",
    "a red ring " * 9,
    "a secret green ring",
    "a yellow triangle",
]
ROWS = ["a yellow triangle", "a small cyan square", "a Yellow triangle", None]
FILTER = """
class F:
    def verdicts(self, prompts):
        return ["secret" if "secret" in prompt else None for prompt in prompts]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "a.txt").write_text("\n".join(TEXT) + "\n")
    (folder / "b.jsonl").write_text("".join(json.dumps({"t": row}) + "\n" for row in ROWS))
    (folder / "list.txt").write_text("gore\ngory\n")
    (folder / "safety_of_choosing.py").write_text(FILTER)
    return folder


def _choose(folder: Path, **settings: Any) -> ChosenPrompts:
    sources = [
        {"name": "a", "path": str(folder / "a.txt")},
        {"name": "b", "path": str(folder / "b.jsonl"), "column": "t"},
    ]
    config = PromptsConfig.model_validate({"sources": sources, **settings})
    return choose_prompts(config, MODEL, LIMITS)


def _everything(folder: Path) -> ChosenPrompts:
    return _choose(
        folder,
        block_list=str(folder / "list.txt"),
        too_long="drop",
        safety={"entry": "safety_of_choosing:F", "code": str(folder)},
        near_duplicates=0.9,
        sample=3,
    )


def _dropped(chosen: ChosenPrompts) -> list[dict[str, Any]]:
    table = pq.read_table(io.BytesIO(chosen.dropped))
    assert table.schema == DROPPED_COLUMNS
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_chosen_every_row_is_kept_or_dropped_with_its_reason(folder: Path) -> None:
    chosen = _everything(folder)
    dropped = _dropped(chosen)
    reasons = {(row["source"], row["row"]): row["reason"] for row in dropped}
    (unsampled,) = [key for key, reason in reasons.items() if reason == "not_sampled"]
    assert reasons == {
        ("a", 1): "blank",
        ("a", 2): "repeated",
        ("a", 3): "blocked",
        ("a", 4): "blocked",
        ("a", 6): "near_repeated",
        ("a", 7): "too_long",
        ("a", 8): "unsafe",
        ("b", 0): "repeated",
        ("b", 2): "near_repeated",
        ("b", 3): "blank",
        unsampled: "not_sampled",
    }
    rows = {("a", row): text for row, text in enumerate(TEXT)}
    rows |= {("b", row): text or "" for row, text in enumerate(ROWS)}
    assert list(chosen.prompts) == [rows[key] for key in rows if key not in reasons]
    assert all(
        row["prompt"] == " ".join(rows[row["source"], row["row"]].split()) for row in dropped
    )


def test_chosen_a_dropped_prompt_has_its_reason_and_what_it_resembles(folder: Path) -> None:
    dropped = {(row["source"], row["row"]): row for row in _dropped(_everything(folder))}
    # Row 4 is similar too, but it was blocked, and a dropped prompt does not drop others.
    near = dropped["a", 6]
    assert (near["resembles"], near["resembles_row"]) == (TEXT[5], 5)
    assert near["detail"] == "similarity 1.000"
    repeat = dropped["b", 0]
    assert (repeat["resembles_source"], repeat["resembles_row"]) == ("a", 9)
    assert dropped["a", 4]["detail"] == "gore" and dropped["a", 4]["resembles"] is None
    assert dropped["a", 8]["detail"] == "secret"
    assert dropped["a", 7]["detail"] == "tokenizer: 29 tokens of 16"


def test_funnel_counts_what_the_list_holds(folder: Path) -> None:
    chosen = _everything(folder)
    funnel, dropped = chosen.funnel, _dropped(chosen)
    assert (funnel.rows, funnel.kept) == (14, 3)
    assert funnel.dropped == Counter(row["reason"] for row in dropped)
    for source in funnel.sources:
        assert source.rows == source.kept + sum(source.dropped.values())
        counts = Counter(row["reason"] for row in dropped if row["source"] == source.name)
        assert source.dropped == counts
    assert funnel.verdicts == {"safe": 6, "secret": 1}
    assert funnel.dropped_sha256 == sha256(chosen.dropped)
    assert funnel.block_list_sha256 == file_sha256(folder / "list.txt")
    assert funnel.safety_sha256 == file_sha256(folder / "safety_of_choosing.py")
    assert funnel.settings["near_duplicates"] == 0.9
    assert str(folder) not in funnel.model_dump_json()


def test_chosen_without_filters_are_the_distinct_prompts_of_all_sources(folder: Path) -> None:
    chosen = _choose(folder)
    texts = [" ".join(text.split()) for text in [*TEXT, *ROWS[:3]] if text]
    assert list(chosen.prompts) == list(dict.fromkeys(texts))
    assert chosen.funnel.verdicts == {} and chosen.funnel.safety_sha256 is None


def test_chosen_where_nothing_is_dropped_names_no_list(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a\nb\n")
    chosen = choose_prompts(PromptsConfig(path=str(tmp_path / "p.txt")), MODEL, LIMITS)
    assert chosen.funnel.dropped_sha256 is None and chosen.funnel.dropped == {}
    assert [source.name for source in chosen.funnel.sources] == ["prompts"]


def test_short_form_and_one_source_are_the_same(folder: Path) -> None:
    short = PromptsConfig(path=str(folder / "b.jsonl"), column="t")
    source = {"name": "x", "path": short.path, "column": "t"}
    long = PromptsConfig.model_validate({"sources": [source]})
    found = [choose_prompts(config, MODEL, LIMITS).prompts for config in (short, long)]
    assert found[0] == found[1] == tuple(ROWS[:3])


def test_distinct_prompts_of_a_file(folder: Path) -> None:
    assert distinct_prompts(folder / "b.jsonl", "t") == ROWS[:3]


def test_chosen_none_left_names_the_filter_that_dropped_the_last(folder: Path) -> None:
    (folder / "all.txt").write_text("a\n")
    with pytest.raises(PromptChoiceError) as caught:
        _choose(folder, block_list=str(folder / "all.txt"))
    assert str(caught.value) == (
        "no prompt is left of 14: 2 blank, 2 repeated, 10 blocked; the last ones were dropped "
        "as blocked, such as 'a Yellow triangle' (a)"
    )


def test_chosen_a_source_without_a_prompt_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("\n")
    sources = [
        {"name": n, "path": str(f / f"{n}.txt")} for n, f in (("a", folder), ("c", tmp_path))
    ]
    with pytest.raises(PromptFileError, match=r"c\.txt: contains no prompts"):
        _choose(folder, sources=sources)


def test_chosen_weights_mix_sources(folder: Path) -> None:
    sources = [
        {"name": "a", "path": str(folder / "a.txt"), "weight": 2},
        {"name": "b", "path": str(folder / "b.jsonl"), "column": "t", "weight": 1.0},
    ]
    funnel = _choose(folder, sources=sources, sample=3).funnel
    assert [(source.name, source.kept) for source in funnel.sources] == [("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "set either path or"),
        ({"path": "p", "sources": [{"name": "a", "path": "p"}]}, "set either path or"),
        ({"sources": [{"name": "a", "path": "p"}, {"name": "a", "path": "q"}]}, "the name 'a'"),
        (
            {"sources": [{"name": "a", "path": "p", "weight": 1.0}, {"name": "b", "path": "q"}]},
            "set all or none",
        ),
        ({"sources": [{"name": "a", "path": "p"}], "column": "c"}, "into each of"),
        ({"sources": [{"name": "a"}]}, "set either path or hub"),
        ({"sources": [{"name": "a", "hub": "o/n"}]}, "hub and revision belong together"),
        ({"sources": [{"name": "a", "hub": "o/n", "revision": "main"}]}, "is not pinned"),
        ({"path": "p", "max_tokens": 5}, 'need too_long = "drop"'),
        ({"path": "p", "near_duplicates": 0.2}, "greater than or equal to 0.5"),
    ],
)
def test_config_that_contradicts_itself_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PromptsConfig.model_validate(settings)
