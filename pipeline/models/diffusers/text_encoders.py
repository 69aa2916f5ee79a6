"""Text encoders of a model: their embeddings, and the longest prompts that they read.

Training of a noise prompt network needs only the text encoders. The other components take most of
the memory. B batch, L tokens, D width of an embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.core.errors import ModelError
from pipeline.core.untrusted_patterns import panics_named
from pipeline.models.diffusers.call_options import given, refuse_options
from pipeline.models.diffusers.families import FAMILIES, Family
from pipeline.models.diffusers.traced_pipeline import TracedPipeline

_NO_LENGTH = 10**9
"""Upper bound of real lengths. A tokenizer without ``model_max_length`` reports a larger number."""

_NOT_NEEDED = ("unet", "transformer", "vae")


@dataclass(frozen=True, kw_only=True)
class TextLimits:
    """The tokenizers of a pipeline and the number of tokens that their encoders read."""

    pipe: Any
    limits: Mapping[str, int]
    """Maps each tokenizer to its number of tokens, including special ones."""

    @classmethod
    def of(
        cls, pipe: Any, family: Family, max_sequence_length: int | None, where: str
    ) -> "TextLimits":
        """Read the limits of ``pipe``; ``where`` names the model in error messages.

        Raises ``ModelError`` for a tokenizer that pads prompts to more tokens than its encoder has
        positions.
        """
        limits = family.limits(max_sequence_length)
        for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
            # This includes tokenizers that do not decide about truncation, because the pipeline
            # pads with them.
            if limits.get(name) is None and _encoder(pipe, name) is not None:
                _refuse_other_length(pipe, name, where)
        return cls(
            pipe=pipe,
            limits={
                name: limit or getattr(pipe, name).model_max_length
                for name, limit in limits.items()
                if _encoder(pipe, name) is not None
            },
        )

    def cut(self, prompt: str) -> dict[str, tuple[int, int]]:
        """Return the number of tokens and the limit for each tokenizer, if a prompt is truncated.

        The result is empty if at least one text encoder reads the complete prompt.
        """
        counts = {name: self._count(name, prompt) for name in self.limits}
        if any(count <= self.limits[name] for name, count in counts.items()):
            return {}
        return {name: (count, self.limits[name]) for name, count in counts.items()}

    def refuse_cut(self, negative_prompt: str, where: str) -> None:
        """Raise ``ModelError`` if the negative prompt is truncated; ``where`` names the model."""
        for name, (count, limit) in self.cut(negative_prompt).items():
            raise ModelError(
                f"{where}: negative_prompt in [model] has {count} tokens of {name}, of which "
                f"only {limit} are read; shorten it"
            )

    def _count(self, name: str, prompt: str) -> int:
        tokenizer = getattr(self.pipe, name)
        # A textual inversion of several vectors is one word, which the pipeline expands first.
        if hasattr(self.pipe, "maybe_convert_prompt"):
            prompt = self.pipe.maybe_convert_prompt(prompt, tokenizer)
        with panics_named(name):
            return len(tokenizer(prompt, truncation=False, verbose=False).input_ids)


def _encoder(pipe: Any, tokenizer: str) -> Any:
    """Return the text encoder of a tokenizer, or None if either is missing (T5 in SD3 may be)."""
    if getattr(pipe, tokenizer, None) is None:
        return None
    return getattr(pipe, tokenizer.replace("tokenizer", "text_encoder"), None)


def _refuse_other_length(pipe: Any, name: str, where: str) -> None:
    length = getattr(pipe, name).model_max_length
    positions = getattr(_encoder(pipe, name).config, "max_position_embeddings", None)
    advice = f"set it in {name}/tokenizer_config.json" + (
        "" if positions is None else f" to the {positions} positions of the text encoder"
    )
    if length > _NO_LENGTH:
        raise ModelError(f"{where}: {name} has no model_max_length; {advice}")
    if positions is not None and length > positions:
        raise ModelError(
            f"{where}: model_max_length {length} of {name} exceeds the {positions} positions of "
            f"the text encoder; {advice}"
        )


class TextEncoder:
    """Encodes prompts to what the network of the model receives as ``encoder_hidden_states``."""

    def __init__(
        self,
        pipe: Any,
        where: str,
        device: torch.device,
        *,
        max_sequence_length: int | None = None,
        clip_skip: int | None = None,
    ) -> None:
        """Remove network and decoder from ``pipe`` and move the rest to ``device``.

        ``where`` names the model in errors. The options are passed to the pipeline. Raises
        ``ModelError`` for an option that it does not accept.
        """
        family = FAMILIES[type(pipe).__name__]
        options = given(max_sequence_length=max_sequence_length, clip_skip=clip_skip)
        refuse_options(family, options, where)
        family.prepare(pipe)
        for name in _NOT_NEEDED:
            if hasattr(pipe, name):
                setattr(pipe, name, None)
        pipe.to(device)
        self.device = device
        self._traced = TracedPipeline(pipe=pipe, family=family, options={}, text_options=options)

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Return the embeddings (B, L, D) of prompts."""
        # One prompt at a time, so an embedding does not depend on the rest of the batch.
        encoded = (self._traced.encode(prompt, negative=False) for prompt in prompts)
        return torch.cat([inputs["prompt_embeds"] for inputs in encoded])
