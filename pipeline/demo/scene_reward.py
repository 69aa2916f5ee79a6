"""The demo's preference model: a small dual encoder, like CLIP-based preference models.

A picture and a caption are encoded as unit vectors. The score is their cosine times a learned
scale.
B batch, L words in the longest caption, H W image height and width.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from pipeline.core.determinism import full_precision
from pipeline.core.errors import ModelError
from pipeline.core.save_weights import save_weights
from pipeline.core.untrusted_files import check_file, read_json
from pipeline.core.weight_budget import skeleton
from pipeline.core.weight_files import check_weights
from pipeline.storage.durable import atomic_write, whole_file

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"

_CONFIG_BYTES = 4 * 2**20

WORD_PLACES = 16
"""Number of words of a caption that are read; the longest caption has ten."""

WIDTH = 128
"""Width of the text transformer."""

EMBEDDING = 256
"""Number of components of the compared vectors."""

PADDING, UNKNOWN = 0, 1


class ImageEncoder(nn.Module):
    """Encoder of pictures (B, 3, 32, 32) in [-1, 1] to features (B, EMBEDDING).

    The last feature map is flattened, not averaged, because relations depend on positions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 48, 4, stride=2, padding=1), nn.GroupNorm(8, 48), nn.SiLU()),
            *(nn.Conv2d(48, 96, 3, stride=2, padding=1), nn.GroupNorm(8, 96), nn.SiLU()),
            *(nn.Conv2d(96, 128, 3, padding=1), nn.GroupNorm(8, 128), nn.SiLU()),
            *(nn.Conv2d(128, 128, 3, stride=2, padding=1), nn.GroupNorm(8, 128), nn.SiLU()),
            *(nn.Flatten(), nn.Linear(128 * 16, EMBEDDING), nn.SiLU()),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features of ``pixels``."""
        features: Tensor = self.layers(pixels)
        return features


class SceneTextEncoder(nn.Module):
    """Encoder of word ids (B, L) to features (B, EMBEDDING): two transformer layers and a mean."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary_size, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(WORD_PLACES, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 3 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.project = nn.Linear(WIDTH, EMBEDDING)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the features of ``ids``. PADDING is masked."""
        is_word = (ids != PADDING).unsqueeze(-1)
        hidden = self.layers(
            self.words(ids) + self.places[: ids.shape[1]], src_key_padding_mask=ids == PADDING
        )
        mean = (hidden * is_word).sum(1) / is_word.sum(1)
        features: Tensor = self.project(mean)
        return features


class DualEncoder(nn.Module):
    """Both encoders, their projections into a common space, and the scale of the cosine."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.image = ImageEncoder()
        self.text = SceneTextEncoder(vocabulary_size)
        self.project = nn.Linear(EMBEDDING, EMBEDDING)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def embed_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and unit vectors, both (B, EMBEDDING)."""
        features = self.image(pixels)
        return features, normalize(self.project(features), dim=-1)

    def embed_captions(self, ids: Tensor) -> Tensor:
        """Return unit vectors (B, EMBEDDING)."""
        return normalize(self.text(ids), dim=-1)


class SceneReward:
    """Scores pictures of scenes against captions. Implements the Reward protocol."""

    def __init__(
        self, model: DualEncoder, vocabulary: Sequence[str], device: torch.device | None = None
    ) -> None:
        self._model = model.eval().requires_grad_(False)
        self._vocabulary = tuple(vocabulary)
        self._device = device or torch.device("cpu")

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Load a folder written by ``save``, in float32. Raises ModelError if it is unusable."""
        config, path = (folder / name for name in (CONFIG_FILE, WEIGHTS_FILE))
        for file in (config, path):
            if not file.exists():
                raise ModelError(
                    f"no scene reward in {folder}: {file} is missing; "
                    f"the folder must hold {CONFIG_FILE} and {WEIGHTS_FILE}"
                )
            check_file(file, ModelError, folder)
        held = check_weights(path)
        vocabulary = read_json(config, ModelError, _CONFIG_BYTES).get("vocabulary")
        if not isinstance(vocabulary, list) or not all(isinstance(w, str) for w in vocabulary):
            raise ModelError(f"{config}: vocabulary is not a list of words; fetch it again")
        try:
            # Its embedding has the size of the vocabulary, which must be that of the weights.
            skeleton(lambda: DualEncoder(vocabulary_size(vocabulary)), held, config)
            model = DualEncoder(vocabulary_size(vocabulary))
            model.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"the scene reward in {folder} is damaged ({error}); restore it from the "
                "repository or train it again with python -m jobs.train_demo_models"
            ) from error
        return cls(model.float().to(device), vocabulary, device)

    def save(self, folder: Path) -> None:
        """Write float16 weights, then the configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        # The configuration is written last: a folder that has one also has complete weights.
        weights = {k: v.half().cpu().contiguous() for k, v in self._model.state_dict().items()}
        with whole_file(folder / WEIGHTS_FILE) as unfinished:
            save_weights(weights, unfinished)
        config = {"class": "SceneReward", "vocabulary": list(self._vocabulary)}
        atomic_write(folder / CONFIG_FILE, [(json.dumps(config, indent=1) + "\n").encode()])

    @torch.no_grad()
    @full_precision()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, 32, 32, 3)) against ``prompts``: float32 (B,) on the CPU.

        Scores lie within ± the learned scale and are comparable between pictures of one prompt.
        The score of an empty prompt is NaN.
        """
        pixels = as_model_pixels(images.to(self._device))
        ids = word_ids(prompts, self._vocabulary).to(self._device)
        _, seen = self._model.embed_images(pixels)
        cosine = (seen * self._model.embed_captions(ids)).sum(-1)
        return (cosine * self._model.log_scale.exp()).float().cpu()


def as_model_pixels(images: Tensor) -> Tensor:
    """Convert uint8 (B, H, W, 3) to float32 (B, 3, H, W) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def vocabulary_size(vocabulary: Sequence[str]) -> int:
    """Return the number of ids: one per word, one for padding, one for unknown words."""
    return len(vocabulary) + 2


def word_ids(prompts: Sequence[str], vocabulary: Sequence[str]) -> Tensor:
    """Return word ids, int64 (B, WORD_PLACES); words outside the vocabulary are UNKNOWN."""
    known = {word: index for index, word in enumerate(vocabulary, start=2)}
    ids = torch.full((len(prompts), WORD_PLACES), PADDING)
    for row, prompt in zip(ids, prompts, strict=True):
        words = prompt.lower().split()[:WORD_PLACES]
        row[: len(words)] = torch.tensor([known.get(word, UNKNOWN) for word in words])
    return ids
