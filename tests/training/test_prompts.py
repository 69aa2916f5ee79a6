"""Prompt embeddings: each distinct prompt of a batch is encoded once."""

import torch

from pipeline.training.data import PromptEncoder
from tests.sealed import demo_models, demo_prompts
from tests.stages.broken_models import WrappedDenoiser


def test_encoder_returns_the_embedding_of_each_prompt() -> None:
    first, second, third = demo_prompts(3)
    denoiser = WrappedDenoiser(demo_models()[0])
    embeds = PromptEncoder.of(denoiser)([first, second, first, third])
    assert embeds.shape == (4, 16, 128) and embeds.dtype == torch.float32
    assert denoiser.encoded == [first, second, third]
    for row, prompt in enumerate([first, second, first, third]):
        alone = demo_models()[0].encode_prompts([prompt]).conditional
        assert torch.equal(embeds[row], alone.tensors["encoder_hidden_states"][0])
    assert not torch.equal(embeds[0], embeds[1])


def test_encoder_remembers_what_fits_and_forgets_the_oldest() -> None:
    first, second, third = demo_prompts(3)
    denoiser = WrappedDenoiser(demo_models()[0])
    encode = PromptEncoder.of(denoiser, cache_bytes=2 * 16 * 128 * 4)
    encode([first, second])
    encode([first])  # used last, so that the second one is the oldest
    encode([third])
    assert denoiser.encoded == [first, second, third]
    encode([first, third])
    assert denoiser.encoded == [first, second, third]
    encode([second])
    assert denoiser.encoded == [first, second, third, second]


def test_encoder_embeddings_do_not_depend_on_the_cache() -> None:
    prompts = demo_prompts(5)
    one_by_one = PromptEncoder.of(demo_models()[0])
    for prompt in reversed(prompts):
        one_by_one([prompt])
    assert torch.equal(one_by_one(prompts), PromptEncoder.of(demo_models()[0])(prompts))


def test_encoder_shape_is_that_of_the_text_encoder() -> None:
    assert PromptEncoder.of(demo_models()[0]).shape == (16, 128)
