"""Near repeats against comparing every pair, in plain words."""

import random

import pytest

from pipeline.config.file import BUNDLED
from pipeline.prompts.near_duplicates import bands_for, drop_near_duplicates, similarity
from pipeline.prompts.prompt import SourcePrompt
from tests.prompts.reading import prompts_of

LONG = "a portrait of an old fisherman in a storm, oil on canvas, dramatic light, highly detailed"


def _varied(count: int) -> list[str]:
    """Prompts of the demo, three in each, and variants with some letters lost or changed."""
    draw = random.Random(0)
    lines = (BUNDLED / "prompts.txt").read_text(encoding="utf-8").splitlines()
    texts = [", ".join(draw.sample(lines, 3)) for _ in range(count // 4)]
    for _ in range(count - len(texts)):
        text = list(draw.choice(texts))
        for _ in range(draw.randint(1, 3)):
            text[draw.randrange(len(text))] = draw.choice(["", "x", "aa"])
        texts.append("".join(text))
    return list(dict.fromkeys(texts))


def _by_all_pairs(prompts: list[SourcePrompt], threshold: float) -> dict[int, tuple[float, int]]:
    """Map each dropped row to its similarity and the row it resembles, by comparing all pairs."""

    def grams(text: str) -> set[str]:
        letters = "".join(c if c.isalnum() or c == "_" else " " for c in text.lower())
        bare = f" {' '.join(letters.split())} "
        return {bare[i : i + 7] for i in range(len(bare) - 6)}

    sets = [grams(prompt.text) for prompt in prompts]
    kept: list[int] = []
    dropped = {}
    for row, mine in enumerate(sets):
        found = [(len(mine & sets[k]) / len(mine | sets[k]), -k) for k in kept]
        best = max(found, default=(0.0, 0))
        if best[0] >= threshold:
            dropped[row] = (best[0], -best[1])
        else:
            kept.append(row)
    return dropped


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85, 1.0])
def test_near_repeats_are_those_of_comparing_all_pairs(threshold: float) -> None:
    prompts = prompts_of(_varied(140))
    expected = _by_all_pairs(prompts, threshold)
    assert threshold == 1 or len(expected) > 20
    drops = list(drop_near_duplicates(prompts, threshold))
    assert {p.row for p, d in zip(prompts, drops, strict=True) if d is not None} == set(expected)
    for row, (score, resembled) in expected.items():
        drop = drops[row]
        assert drop is not None and drop.resembles is prompts[resembled]
        assert drop.detail == f"similarity {score:.3f}"


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.75, 0.85, 0.9, 0.99, 1.0])
def test_bands_miss_one_pair_in_a_million_at_most(threshold: float) -> None:
    bands, rows = bands_for(threshold)
    assert bands * rows <= 256
    assert (1 - threshold**rows) ** bands <= 1e-6
    rows += 1  # one more hash in a band would miss more
    assert rows > 256 or (1 - threshold**rows) ** (256 // rows) > 1e-6


@pytest.mark.parametrize(
    "other",
    [LONG.upper(), LONG.replace(",", " -"), LONG + ", 8k", LONG.replace("portrait", "portait")],
)
def test_similarity_case_punctuation_a_typing_error_and_a_tail_hardly_count(other: str) -> None:
    assert similarity(LONG, other) > 0.85


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A red car and a white sheep.", "A white car and a red sheep."),
        ("A blue cup and a green cell phone.", "A green cup and a blue cell phone."),
        ("A horse riding an astronaut.", "An astronaut riding a horse."),
        ("Two cats and one dog.", "Two cats and two dogs."),
    ],
)
def test_similarity_exchanged_words_make_another_prompt(first: str, second: str) -> None:
    assert similarity(first, second) < 0.6


def test_similarity_of_texts_that_are_short_or_have_no_letters() -> None:
    assert similarity("a", "a.") == 1 and similarity("a", "b") == 0
    assert similarity("!!!", "!!!") == 1 and similarity("!!!", "???") == 0
    assert (
        0.5 < similarity("一只戴着帽子的红色的猫坐在桌子上", "一只戴着帽子的红色的猫坐在桌子旁") < 1
    )
