"""Samples by hash: of a size, stable, and in the shares that weights ask for."""

from collections import Counter

import pytest

from pipeline.core.errors import PromptChoiceError
from pipeline.core.records import DropReason
from pipeline.prompts.prompt import SourcePrompt
from pipeline.prompts.sampling import drop_not_sampled
from tests.prompts.reading import prompts_of

PROMPTS = prompts_of([f"prompt {number}" for number in range(300)])
MIXED = [
    *prompts_of([f"a {number}" for number in range(100)], "a"),
    *prompts_of([f"b {number}" for number in range(40)], "b"),
    *prompts_of([f"c {number}" for number in range(10)], "c"),
]


def _sampled(
    prompts: list[SourcePrompt],
    size: int | None,
    weights: dict[str, float] | None = None,
    seed: int = 0,
) -> list[SourcePrompt]:
    drops = list(drop_not_sampled(prompts, size, weights or {}, seed))
    assert {d.reason for d in drops if d is not None} <= {DropReason.NOT_SAMPLED}
    return [prompt for prompt, drop in zip(prompts, drops, strict=True) if drop is None]


def test_sample_has_its_size_and_the_order_of_the_prompts() -> None:
    found = _sampled(PROMPTS, 100)
    assert len(found) == 100 and found == sorted(found, key=lambda prompt: prompt.row)
    assert _sampled(PROMPTS, 300) == PROMPTS


def test_sample_follows_from_the_seed() -> None:
    assert _sampled(PROMPTS, 100) == _sampled(PROMPTS, 100)
    other = _sampled(PROMPTS, 100, seed=1)
    # Independent choices of a third share a third of it: 33 of 100, with a deviation below 5.
    assert 10 < len({*other} & {*_sampled(PROMPTS, 100)}) < 56


def test_sample_larger_one_holds_the_smaller() -> None:
    assert {*_sampled(PROMPTS, 50)} < {*_sampled(PROMPTS, 51)}


@pytest.mark.parametrize("added", [1, 7, 100])
def test_sample_each_added_prompt_displaces_at_most_one(added: int) -> None:
    before = {prompt.text for prompt in _sampled(PROMPTS[added:], 100)}
    # The new ones come first, because the position in the list must not matter.
    after = {prompt.text for prompt in _sampled(PROMPTS, 100)}
    new = {prompt.text for prompt in PROMPTS[:added]}
    assert len(before - after) == len(after & new) <= added
    assert after - new <= before


def test_weights_give_each_source_its_share() -> None:
    found = Counter(p.source for p in _sampled(MIXED, 50, {"a": 3, "b": 1.5, "c": 0.5}))
    assert found == {"a": 30, "b": 15, "c": 5}


@pytest.mark.parametrize("size", range(3, 25))
def test_weights_shares_are_whole_within_one_and_add_up(size: int) -> None:
    weights = {"a": 1.0, "b": 1.0, "c": 1.0}
    found = Counter(prompt.source for prompt in _sampled(MIXED, size, weights))
    assert sum(found.values()) == size
    assert max(found.values()) - min(found.values()) <= 1


def test_weights_without_a_size_take_as_many_as_they_allow() -> None:
    found = Counter(prompt.source for prompt in _sampled(MIXED, None, {"a": 2, "b": 2, "c": 1}))
    assert found == {"a": 20, "b": 20, "c": 10}


def test_weights_a_source_is_sampled_as_if_alone() -> None:
    found = [p for p in _sampled(MIXED, 40, {"a": 2, "b": 2, "c": 1}) if p.source == "b"]
    assert found == _sampled([p for p in MIXED if p.source == "b"], 16)


def test_weights_that_cannot_be_met_name_the_source_and_what_there_is() -> None:
    with pytest.raises(PromptChoiceError) as caught:
        _sampled(MIXED, 50, {"a": 1, "b": 1, "c": 1})
    assert "sample = 50: source 'c' has 10 prompts left" in str(caught.value)
    assert "at most 30 in total" in str(caught.value)
    with pytest.raises(PromptChoiceError, match="source 'd' has 0 prompts left"):
        _sampled(MIXED, None, {"a": 1, "d": 1})


def test_sample_of_more_than_there_are_is_refused() -> None:
    with pytest.raises(PromptChoiceError, match="sample = 301, but only 300 prompts are left"):
        _sampled(PROMPTS, 301)
