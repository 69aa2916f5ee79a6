"""CLIP, which embeds images and prompts as unit vectors, and rewards that are their cosine.

CLIPScore: Hessel et al., arXiv 2104.08718, equation 1: 2.5 · max(cos, 0), without their prefix "A
photo depicts", as in text-to-image papers. The CLIP is not trained on human preferences.
PickScore v1: a CLIP ViT-H/14 tuned on Pick-a-Pic. Kirstain et al., arXiv 2305.01569. The reference
is the code of its model card.
B batch, S side of the network's square in pixels, E length of the vectors.
"""

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import ftfy
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from pipeline.core.determinism import full_precision
from pipeline.core.errors import ModelError
from pipeline.core.save_weights import save_weights
from pipeline.models.rewards.pixels import centre_floored, pillow_pixels
from pipeline.models.rewards.published import (
    CONFIG,
    REQUIRED_FILES,
    WEIGHTS,
    check_folder,
    read_sizes,
)
from pipeline.models.rewards.weights import Tensors, fill, read_tensors

_NOT_WEIGHTS = "position_ids"
"""Suffix of buffers that older versions of transformers stored."""

_SCALE = 2.5
"""Factor w of equation 1, which scales cosines to about [0, 1]."""


class Clip:
    """A ``CLIPModel`` of transformers in float32, with its tokenizer."""

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, device: torch.device) -> None:
        movable: Any = model  # transformers hides the types of torch's ``to``
        self._model: CLIPModel = movable.to(device)
        self._tokenizer = tokenizer
        self.device = device
        text: Any = model.config.text_config
        vision: Any = model.config.vision_config
        self._text_length = int(text.max_position_embeddings)
        self.side = int(vision.image_size)
        self.width = model.visual_projection.out_features

    @classmethod
    def load(
        cls,
        kind: str,
        folder: Path,
        device: torch.device,
        *,
        default: CLIPConfig | None = None,
        rename: Callable[[Tensors], Tensors] | None = None,
    ) -> Self:
        """Read the folder of a reward of this kind.

        ``default`` is the configuration if the folder has none. ``rename`` renames the tensors of a
        published pickle to the names of transformers. Raises ``ModelError``.
        """
        check_folder(kind, folder)
        (path,) = REQUIRED_FILES[kind][0].found_in(folder) or ()
        tensors = read_tensors(path)
        if rename is not None and path.name != WEIGHTS:
            tensors = rename(tensors)
        weights = {name: t for name, t in tensors.items() if not name.endswith(_NOT_WEIGHTS)}
        config = default if default and not (folder / CONFIG).is_file() else _config(folder)
        return cls(fill(lambda: CLIPModel(config), weights, path), _tokenizer(folder), device)

    def save(self, folder: Path) -> None:
        """Write the files that ``load`` reads."""
        self._model.config.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        save_weights({n: t.cpu() for n, t in self._model.state_dict().items()}, folder / WEIGHTS)

    @property
    def scale(self) -> Tensor:
        """Learned factor for cosines, a scalar."""
        scale: Tensor = self._model.logit_scale.exp()
        return scale

    @full_precision()
    def embed_images(self, pixels: Tensor) -> Tensor:
        """Embed ``pixels``, float32 (B, 3, S, S), as unit vectors (B, E)."""
        features = self._model.get_image_features(pixels.to(self.device)).pooler_output
        return normalize(features, dim=-1)

    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts as unit vectors (B, E). They are truncated to 77 tokens."""
        ids = self.token_ids(prompts).to(self.device)
        return normalize(self._model.get_text_features(ids).pooler_output, dim=-1)

    def token_ids(self, prompts: Sequence[str]) -> Tensor:
        """Return the token ids of prompts, int64 (B, 77)."""
        # No mask is needed for the padding: attention is causal, so the end token, whose output is
        # used, does not see what follows.
        encoded = self._tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self._text_length,
            return_tensors="pt",
        )
        ids: Tensor = encoded["input_ids"]
        return ids


def clean_text(prompt: str) -> str:
    """Clean a prompt as the tokenizers of OpenAI and of open_clip do."""
    # The tokenizer of transformers does not. Without this, prompts with curly quotes or HTML
    # entities would have other tokens than with the authors' code.
    return html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()


class ClipReward:
    """Base class of rewards that load a CLIP. Subclasses define ``score``."""

    kind: ClassVar[str]
    """Kind of the reward in a configuration."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        return cls(Clip.load(cls.kind, folder, device))

    def save(self, folder: Path) -> None:
        """Write the files that ``load`` reads, as safetensors."""
        self._clip.save(folder)


class ClipScore(ClipReward):
    """CLIPScore, about 0.5 to 1. It accepts the folder of any CLIP of transformers."""

    kind = "clip_score"

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts``: float32 (B,) on the CPU."""
        image_vectors = self._clip.embed_images(pillow_pixels(images, self._clip.side))
        text_vectors = self._clip.embed_prompts([clean_text(prompt) for prompt in prompts])
        return (_SCALE * (image_vectors * text_vectors).sum(-1).clamp(min=0)).cpu()


class PickScore(ClipReward):
    """Scores of PickScore v1, about 15 to 27. They are comparable between images of one prompt."""

    kind = "pick_score"

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts``: float32 (B,) on the CPU."""
        pixels = pillow_pixels(images, self._clip.side, centre_floored)
        image_vectors = self._clip.embed_images(pixels)
        # The reference uses the tokenizer of transformers, so prompts are not cleaned first.
        text_vectors = self._clip.embed_prompts(prompts)
        return (self._clip.scale * (image_vectors * text_vectors).sum(-1)).cpu()


def _config(folder: Path) -> CLIPConfig:
    read_sizes(folder)
    try:
        return CLIPConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the errors of its validation have no common type
        raise ModelError(f"{folder / CONFIG} does not describe a CLIP model: {error}") from error


def _tokenizer(folder: Path) -> CLIPTokenizer:
    try:
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # for a damaged file, the tokenizers library raises Exception itself
        raise ModelError(
            f"the tokenizer in {folder} is damaged ({error}); fetch it again"
        ) from error
    return tokenizer
