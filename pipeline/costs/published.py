"""What is known of published models without their weights: the shape of their latents.

Speeds of models on GPUs, each with its source: published by others, or measured by us.

All are of images of 1024 × 1024. Those published are of images made one at a time: a figure for a
whole image is divided by its forward evaluations (two a step under classifier-free guidance), after
the decoding is taken off where that was published too. Ours are of the batches that the recipes
take, as a worker computes them. Judging is in none of them.
"""

from dataclasses import dataclass
from pathlib import PurePath

from pipeline.config.model import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Models of one size and shape; what is tuned or distilled from one is as large as it."""

    name: str
    repositories: tuple[str, ...]
    """How their repositories are called on the hub, without the owner, and folders after them."""
    channels: int
    """Of the latents; FLUX packs 2 × 2 of them into one token of four times as many."""
    pixels: int = 1024
    """Side of the images that they are made for."""
    factor: int = 8
    """Pixels to a latent, in each direction."""

    def latent_values(self, model: ModelConfig) -> int:
        """Numbers in one latent."""
        height, width = self.size(model)
        return self.channels * (height // self.factor) * (width // self.factor)

    def size(self, model: ModelConfig) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return model.height or self.pixels, model.width or self.pixels


ARCHITECTURES = (
    Architecture(
        name="SDXL",
        repositories=("stable-diffusion-xl-base-1.0", "dreamshaper-xl-v2-turbo"),
        channels=4,
    ),
    Architecture(
        name="Hunyuan-DiT",
        repositories=(
            "HunyuanDiT-Diffusers",
            "HunyuanDiT-v1.1-Diffusers",
            "HunyuanDiT-v1.2-Diffusers",
        ),
        channels=4,
    ),
    Architecture(name="SD3.5 large", repositories=("stable-diffusion-3.5-large",), channels=16),
    Architecture(name="FLUX.1", repositories=("FLUX.1-dev", "FLUX.1-schnell"), channels=16),
)


def architecture_of(model: ModelConfig) -> Architecture | None:
    """The architecture of a model, by the name of its repository, or of its folder."""
    place = model.hub or model.path
    assert place is not None, "checked by the configuration"
    name = PurePath(place).name.lower()
    for architecture in ARCHITECTURES:
        if name in (repository.lower() for repository in architecture.repositories):
            return architecture
    return None


_SDXL_CARD = "model card of stabilityai/stable-diffusion-xl-1.0-tensorrt"
_HUNYUAN_CARD = "model card of Tencent-Hunyuan/Distillation-v1.2"
_ORT = "microsoft/onnxruntime pull request 22986"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a model runs on a GPU."""

    architecture: str
    gpu: str
    software: str
    image_seconds: float
    """Of a whole image."""
    image_evaluations: int
    """Forward evaluations in it."""
    decode_seconds: float = 0.0
    """Of decoding it; 0 leaves the decoding in the time of the evaluations."""
    source: str

    @property
    def evaluation_seconds(self) -> float:
        """Of one forward evaluation for one sample."""
        return (self.image_seconds - self.decode_seconds) / self.image_evaluations


def _measured(architecture: str, batch: int, evaluation: float, decoding: float) -> Speed:
    """Ours: seconds for one sample of a batch."""
    return Speed(
        architecture=architecture,
        gpu="H200",
        software="PyTorch",
        image_seconds=evaluation + decoding,
        image_evaluations=1,
        decode_seconds=decoding,
        source=f"benchmarks/full_size, batches of {batch}, PyTorch 2.11",
    )


SPEEDS = (
    # 30 steps. The card does not name the guidance; its own LCM row (4 unguided steps: 192 ms of
    # UNet on A100) fits two evaluations a step here. Decoding is that of the LCM row, in TensorRT.
    Speed(
        architecture="SDXL",
        gpu="A100",
        software="PyTorch",
        image_seconds=3.704,
        image_evaluations=60,
        decode_seconds=0.228,
        source=_SDXL_CARD,
    ),
    Speed(
        architecture="SDXL",
        gpu="A100",
        software="TensorRT",
        image_seconds=2.742,
        image_evaluations=60,
        decode_seconds=0.228,
        source=_SDXL_CARD,
    ),
    Speed(
        architecture="SDXL",
        gpu="H100",
        software="PyTorch",
        image_seconds=2.496,
        image_evaluations=60,
        decode_seconds=0.127,
        source=_SDXL_CARD,
    ),
    Speed(
        architecture="SDXL",
        gpu="H100",
        software="TensorRT",
        image_seconds=1.471,
        image_evaluations=60,
        decode_seconds=0.127,
        source=_SDXL_CARD,
    ),
    # 100 steps under guidance. The card does not name the size; 1024 × 1024 is the model's own.
    Speed(
        architecture="Hunyuan-DiT",
        gpu="A100",
        software="PyTorch",
        image_seconds=54.0,
        image_evaluations=200,
        source=_HUNYUAN_CARD,
    ),
    Speed(
        architecture="Hunyuan-DiT",
        gpu="A100",
        software="TensorRT",
        image_seconds=20.0,
        image_evaluations=200,
        source=_HUNYUAN_CARD,
    ),
    Speed(
        architecture="Hunyuan-DiT",
        gpu="H800",
        software="PyTorch",
        image_seconds=28.0,
        image_evaluations=200,
        source=_HUNYUAN_CARD,
    ),
    # 50 steps in bfloat16. The guidance of SD3.5 is not named: two evaluations a step are taken,
    # as with the pipeline's default. No figure in text was found for an A100.
    Speed(
        architecture="SD3.5 large",
        gpu="H100",
        software="PyTorch",
        image_seconds=11.615,
        image_evaluations=100,
        source=_ORT,
    ),
    Speed(
        architecture="SD3.5 large",
        gpu="H100",
        software="torch.compile",
        image_seconds=7.466,
        image_evaluations=100,
        source=_ORT,
    ),
    # 50 steps in bfloat16, guidance as an embedding. No figure in text was found for an A100.
    Speed(
        architecture="FLUX.1",
        gpu="H100",
        software="PyTorch",
        image_seconds=12.339,
        image_evaluations=50,
        source=_ORT,
    ),
    Speed(
        architecture="FLUX.1",
        gpu="H100",
        software="torch.compile",
        image_seconds=8.198,
        image_evaluations=50,
        source=_ORT,
    ),
    # Random weights, which are as fast as trained ones; in the recipes' types, 16 bits each.
    _measured("SDXL", batch=8, evaluation=0.0178, decoding=0.109),
    _measured("Hunyuan-DiT", batch=8, evaluation=0.0715, decoding=0.075),
    _measured("SD3.5 large", batch=4, evaluation=0.0892, decoding=0.080),
    _measured("FLUX.1", batch=4, evaluation=0.1775, decoding=0.080),
)
