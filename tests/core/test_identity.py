"""Digests, ids, seeds and splits are functions of the content."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.identity import (
    canonical_json,
    folder_digest,
    normalise_prompt,
    prompt_id,
    readable_json,
    seeds_for,
    sha256,
    split_for,
)
from pipeline.core.records import Split

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates are no text in UTF-8.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5).filter(str.isascii), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(JSON)
def test_canonical_json_any_value_reads_back_and_is_stable(value: object) -> None:
    data = canonical_json(value)
    assert canonical_json(json.loads(data)) == data
    assert json.loads(readable_json(value)) == json.loads(data)


def test_canonical_json_order_of_keys_does_not_count() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"é"],"b":1}'.encode()
    assert canonical_json({"a": [1.5, "é"], "b": 1}) == canonical_json({"b": 1, "a": [1.5, "é"]})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_number_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


def test_sha256_of_the_standards_example() -> None:
    # FIPS 180-2, appendix B.1.
    assert sha256(b"abc").startswith("ba7816bf8f01cfea414140de5dae2223b00361a396177a9c")


@settings(max_examples=50)
@given(st.integers(0, 2**63), st.text("0123456789abcdef", min_size=16, max_size=16))
def test_seeds_are_distinct_in_range_and_a_prefix_of_longer_lists(root: int, prompt: str) -> None:
    seeds = seeds_for(root, prompt, 20)
    assert len(set(seeds)) == 20
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeds_for(root, prompt, 7) == seeds[:7]


def test_seeds_another_root_or_prompt_gives_others() -> None:
    lists = [seeds_for(root, prompt, 4) for root in (0, 1) for prompt in ("a", "b")]
    assert len({seed for seeds in lists for seed in seeds}) == 16


FRACTIONS = {Split.TRAIN: 0.7, Split.VALIDATION: 0.1, Split.TEST: 0.2}


def test_split_fractions_are_about_right() -> None:
    splits = [split_for(prompt_id(str(number)), FRACTIONS) for number in range(5000)]
    for split, fraction in FRACTIONS.items():
        # Four standard errors of a binomial share.
        error = (fraction * (1 - fraction) / 5000) ** 0.5
        assert abs(splits.count(split) / 5000 - fraction) < 4 * error


@settings(max_examples=50)
@given(st.text("0123456789abcdef", min_size=16, max_size=16))
def test_split_empty_ones_get_no_prompt(prompt: str) -> None:
    everything = {Split.TRAIN: 1.0, Split.VALIDATION: 0.0, Split.TEST: 0.0}
    assert split_for(prompt, everything) is Split.TRAIN


def test_split_growing_one_keeps_its_prompts() -> None:
    names = [prompt_id(str(number)) for number in range(500)]
    more = {Split.TRAIN: 0.8, Split.VALIDATION: 0.1, Split.TEST: 0.1}
    before = {name for name in names if split_for(name, FRACTIONS) is Split.TRAIN}
    assert before < {name for name in names if split_for(name, more) is Split.TRAIN}


@settings(max_examples=50)
@given(st.text())
def test_normalised_prompt_is_stable_trimmed_and_nfc(text: str) -> None:
    once = normalise_prompt(text)
    assert normalise_prompt(once) == once
    assert once == once.strip() and "  " not in once and "\n" not in once
    assert unicodedata.is_normalized("NFC", once)


def test_normalised_prompt_decomposed_letters_and_white_space_are_alike() -> None:
    assert normalise_prompt(" caf\u0065\u0301 \t au\u00a0 lait\n") == "caf\u00e9 au lait"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "weights.safetensors").write_bytes(b"abc")
    (tmp_path / "model_index.json").write_bytes(b"{}")
    return tmp_path


@pytest.mark.parametrize("name", ["README.md", ".gitattributes", ".cache/x", "__pycache__/a.pyc"])
def test_folder_digest_cards_and_hidden_files_do_not_count(folder: Path, name: str) -> None:
    before = folder_digest(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    assert folder_digest(folder) == before


def test_folder_digest_place_of_the_folder_does_not_count(folder: Path, tmp_path: Path) -> None:
    before = folder_digest(folder)
    moved = folder.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert folder_digest(moved) == before


def test_folder_digest_any_byte_name_or_file_counts(folder: Path) -> None:
    weights = folder / "unet" / "weights.safetensors"
    digests = [folder_digest(folder)]
    weights.write_bytes(b"abd")
    digests.append(folder_digest(folder))
    weights = weights.rename(folder / "unet" / "weight.safetensors")
    digests.append(folder_digest(folder))
    weights.rename(folder / "weight.safetensors")
    digests.append(folder_digest(folder))
    (folder / "empty").touch()
    digests.append(folder_digest(folder))
    assert len(set(digests)) == len(digests)
