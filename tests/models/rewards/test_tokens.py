"""Token ids of prompts against those of the authors' code for each reward."""

from collections.abc import Mapping
from pathlib import Path

import torch

from pipeline.models.rewards.clip import Clip, clean_text
from pipeline.models.rewards.image_reward import ImageReward
from tests.models.rewards.recorded import tokens
from tests.models.rewards.reference.subjects import PROMPTS

CPU = torch.device("cpu")


def test_tokens_of_image_reward_are_truncated_and_padded_like_the_reference(
    published: Mapping[str, Path],
) -> None:
    ids, mask = ImageReward.load(published["image_reward"], CPU).tokens(PROMPTS)
    assert ids.tolist() == tokens("bert")["ids"]
    assert torch.equal(mask, (ids != 0).long())
    assert mask.sum(1).max() == 35 and mask[PROMPTS.index("")].sum() == 2


def test_tokens_of_clip_equal_transformers_and_with_cleaned_text_openai(
    published: Mapping[str, Path],
) -> None:
    clip = Clip.load("clip_score", published["clip_score"], CPU)
    recorded = tokens("clip")
    end = recorded["vocabulary"]["<|endoftext|>"]
    as_they_are = clip.token_ids(PROMPTS).tolist()
    mended_ids = clip.token_ids([clean_text(prompt) for prompt in PROMPTS]).tolist()
    assert [_read(row, end) for row in as_they_are] == [_read(row, end) for row in recorded["ids"]]
    assert [_read(r, end) for r in mended_ids] == [_read(r, end) for r in recorded["mended_ids"]]
    differ = [p for p, a, b in zip(PROMPTS, as_they_are, mended_ids, strict=True) if a != b]
    assert differ == [PROMPTS[1], PROMPTS[3]], "curly quotes, and an entity"
    assert {len(_read(row, end)) for row in mended_ids} >= {2, 77}


def _read(ids: list[int], end: int) -> list[int]:
    """Return the ids that a network reads: those up to the first end token."""
    return ids[: ids.index(end) + 1]
