"""Description of a family of text-to-image models.

It has only what cannot be recorded from the pipeline's call. The arguments of the network, its
timesteps and the decoding of latents are recorded; see ``traced_pipeline``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Inputs = dict[str, Tensor]
"""Inputs of a pipeline's call that replace prompts, batch first: ``prompt_embeds`` and others."""

NEGATIVE = "negative_"
"""Prefix of the names of inputs for the prediction without the prompt."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One pipeline class of diffusers and the facts that are needed to use it."""

    pipeline: str
    """Name of the class."""
    encoded: tuple[str | None, ...] = ()
    """Names of the results of ``encode_prompt``, in order, as arguments of the call. None marks a
    result that is not passed on."""
    encode_options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of ``encode_prompt`` besides the prompt."""
    encode: Callable[[Any, str, str | None], Inputs] | None = None
    """Function that replaces ``encoded`` and ``encode_options`` if ``encode_prompt`` must be called
    in another way. It receives pipeline, prompt and negative prompt. It returns the inputs of the
    negative prompt if that is not None, otherwise those of the prompt."""
    call_options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the call besides inputs, size, steps and guidance."""
    load_options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of loading. They disable safety checkers and watermarks."""
    optional_parts: tuple[str, ...] = ()
    """Components that a folder may lack, or have as null in its ``model_index.json``."""
    guidance_option: str = "guidance_scale"
    """Argument of the call for the scale of classifier-free guidance."""
    options: frozenset[str] = frozenset()
    """Names from ``call_options.OPTIONS`` that the call accepts."""
    text_limits: Mapping[str, int | None] = field(default_factory=lambda: {"tokenizer": None})
    """Maps each tokenizer to its default number of tokens. None means ``model_max_length``."""
    text_widths: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Maps options of the network's configuration to text encoders and their options. The former
    must equal the sum of the latter."""
    refusal: Callable[[Any], str | None] = lambda pipe: None
    """Function that returns why a pipeline is not supported, or None if it is."""
    prepare: Callable[[Any], None] = lambda pipe: None
    """Function that corrects a loaded pipeline before its first call."""

    def limits(self, max_sequence_length: int | None) -> dict[str, int | None]:
        """Return ``text_limits`` for a given ``max_sequence_length``. None means its default."""
        # The option sets the length of T5 alone. CLIP tokenizers, marked None, keep their length.
        return {
            name: limit if limit is None else max_sequence_length or limit
            for name, limit in self.text_limits.items()
        }
