"""What has to be said of a family of text-to-image models, because its pipeline does not say it.

Everything else (what the network is told, at which timesteps, how latents become images) is seen by
watching the pipeline's own call; see ``watched_pipeline``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Inputs = dict[str, Tensor]
"""What a pipeline's call takes in place of prompts, batch first: ``prompt_embeds`` and the like."""

NEGATIVE = "negative_"
"""What a pipeline's call puts before the name of an input for the prediction without the prompt."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One pipeline class of diffusers."""

    pipeline: str
    """Its name."""
    encoded: tuple[str | None, ...] = ()
    """What its ``encode_prompt`` returns, in order, as its call names it; None is not handed on."""
    encode_options: Mapping[str, Any] = field(default_factory=dict)
    """What ``encode_prompt`` is told beside the prompt."""
    encode: Callable[[Any, str, str | None], Inputs] | None = None
    """In place of both, where ``encode_prompt`` has to be called otherwise: from pipeline, prompt
    and the negative prompt, whose inputs are returned if it is given."""
    call_options: Mapping[str, Any] = field(default_factory=dict)
    """What the call is told beside inputs, size, steps and guidance."""
    load_options: Mapping[str, Any] = field(default_factory=dict)
    """What loading is told: to leave out what judges or marks images."""
    optional_parts: tuple[str, ...] = ()
    """Parts that a folder may lack, or have as null in its ``model_index.json``."""
    guidance_option: str = "guidance_scale"
    """How the call names the scale of classifier-free guidance."""
    options: frozenset[str] = frozenset()
    """What its call takes of ``call_options.OPTIONS``."""
    text_limits: Mapping[str, int | None] = field(default_factory=lambda: {"tokenizer": None})
    """By tokenizer, how many tokens are read by default; None leaves it to the tokenizer."""
    text_widths: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """By option of the network's configuration, the text encoders and their options of which it is
    the sum."""
    refusal: Callable[[Any], str | None] = lambda pipe: None
    """Why a pipeline of this class cannot be used, or None."""
    prepare: Callable[[Any], None] = lambda pipe: None
    """Corrects a pipeline that its own call does not fit."""

    def limits(self, max_sequence_length: int | None) -> dict[str, int | None]:
        """``text_limits`` where the call's ``max_sequence_length`` is another than its default."""
        return {
            name: limit if limit is None else max_sequence_length or limit
            for name, limit in self.text_limits.items()
        }
