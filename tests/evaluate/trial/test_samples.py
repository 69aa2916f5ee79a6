"""Tests of held-out prompts, unseen seeds and categories."""

import gzip
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import PromptFileError, UserError
from pipeline.core.identity import prompt_id, seeds_for
from pipeline.core.records import Split
from pipeline.demo.scenes import scene_categories
from pipeline.evaluate.trial.samples import (
    chunks_of,
    draw_samples,
    held_out_prompts,
    read_categories,
    read_data_set,
)
from pipeline.storage.open import open_store
from tests.evaluate.trial.networks import held_out
from tests.sealed import Built, manifest_of


def test_data_set_has_the_prompts_and_all_seeds_of_its_ledger(
    sealed_folder: Path, built: Built
) -> None:
    data = read_data_set(open_store(str(sealed_folder)))
    ledger = pq.read_table(sealed_folder / manifest_of(sealed_folder).ledger.key)
    assert data.seeds == set(ledger["seed"].to_pylist())
    assert list(data.splits) == built.prompts.table["prompt"].to_pylist()


def test_test_split_is_evaluated_where_no_file_is_named(sealed_folder: Path, built: Built) -> None:
    data = read_data_set(open_store(str(sealed_folder)))
    table = built.prompts.table
    expected = [
        prompt
        for prompt, split in zip(
            table["prompt"].to_pylist(), table["split"].to_pylist(), strict=True
        )
        if split == "test"
    ]
    assert expected and held_out_prompts(None, "prompt", data) == expected


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VALIDATION])
def test_prompts_that_were_trained_on_are_refused_with_count_and_examples(
    sealed_folder: Path, tmp_path: Path, split: Split
) -> None:
    data = read_data_set(open_store(str(sealed_folder)))
    seen = [prompt for prompt, of in data.splits.items() if of is split]
    file = tmp_path / "prompts.txt"
    # White space does not make another prompt.
    file.write_text("\n".join([*held_out(5), f"  {seen[0]} ", *data.test_prompts]), "utf-8")
    total = 5 + 1 + len(data.test_prompts)
    with pytest.raises(UserError, match=rf"1 of {total} prompts .*{seen[0]!r}"):
        held_out_prompts(file, "prompt", data)
    file.write_text("\n".join([*held_out(5), *data.test_prompts]), "utf-8")
    assert held_out_prompts(file, "prompt", data) == [*held_out(5), *data.test_prompts]


def test_missing_prompts_are_refused(sealed_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --prompts, or --data"):
        held_out_prompts(None, "prompt", None)
    data = read_data_set(open_store(str(sealed_folder)))
    with pytest.raises(UserError, match="has no test split"):
        held_out_prompts(None, "prompt", replace(data, splits={"a": Split.TRAIN}))
    with pytest.raises(UserError, match="nothing is sealed here"):
        read_data_set(open_store(str(tmp_path)))


def test_samples_have_seeds_that_no_candidate_has_and_none_twice() -> None:
    prompts = held_out(20)
    # One seed of each prompt is taken, so exactly these must be skipped.
    taken = {seeds_for(5, prompt_id(prompt), 2)[1] for prompt in prompts}
    samples = draw_samples(prompts, 2, 3, 5, taken)
    seeds = [seed for sample in samples for seed in sample.seeds]
    assert len(set(seeds)) == len(seeds) == 20 * 2 * 4
    assert not taken & set(seeds)
    for sample in samples[::2]:
        assert sample.seeds[0] == seeds_for(5, sample.prompt_id, 1)[0]


def test_source_seeds_do_not_depend_on_the_controls() -> None:
    few, many = (draw_samples(held_out(5), 2, extra, 5, frozenset()) for extra in (1, 4))
    assert [sample.seeds[0] for sample in few] == [sample.seeds[0] for sample in many]


def test_wrong_prompts_are_a_derangement() -> None:
    samples = draw_samples(held_out(17), 2, 1, 5, frozenset())
    wrong = {sample.prompt: sample.wrong_prompt for sample in samples}
    assert all(prompt != other for prompt, other in wrong.items())
    assert set(wrong.values()) == set(wrong) == set(held_out(17))
    with pytest.raises(UserError, match="at least two prompts"):
        draw_samples(held_out(1), 2, 1, 5, frozenset())


def test_ranks_take_first_seeds_first() -> None:
    samples = draw_samples(held_out(4), 2, 0, 5, frozenset())
    assert [sample.rank for sample in samples] == [0, 4, 1, 5, 2, 6, 3, 7]


@pytest.mark.parametrize(("size", "expected"), [(4, [4, 4, 2]), (5, [4, 4, 2]), (1, [2] * 5)])
def test_chunks_hold_whole_prompts(size: int, expected: list[int]) -> None:
    samples = draw_samples(held_out(5), 2, 0, 5, frozenset())
    chunks = list(chunks_of(samples, size, 2))
    assert list(map(len, chunks)) == expected
    assert [sample for chunk in chunks for sample in chunk] == samples


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
