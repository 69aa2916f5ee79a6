"""Published figures of models, for plans without their weights: latent shapes and speeds on GPUs.

All speeds are for images of 1024 × 1024 and exclude rewards. Published speeds are for single
images: the time of an image is divided by its forward evaluations (two per step with
classifier-free guidance), after subtracting the time of decoding if that was published too. Our
measurements use the batch sizes of the recipes, as a worker computes them.
"""

from dataclasses import dataclass
from pathlib import PurePath

from pipeline.config.model import ModelConfig

COMPILED = "torch.compile"

_SDXL_CARD = "model card of stabilityai/stable-diffusion-xl-1.0-tensorrt"
_HUNYUAN_CARD = "model card of Tencent-Hunyuan/Distillation-v1.2"
_ORT = "microsoft/onnxruntime pull request 22986"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Models of the same size and latent shape, with their fine-tuned and distilled versions."""

    name: str
    repositories: tuple[str, ...]
    """Names of their repositories on the hub, without the owner; folders have the same names."""
    channels: int
    """Channels of the latents. FLUX packs 2 × 2 of them into a token of four times as many."""
    pixels: int = 1024
    """Height and width of the images that they are trained for, in pixels."""
    factor: int = 8
    """Number of pixels per latent value in each direction."""

    def latent_values(self, model: ModelConfig) -> int:
        """Return the number of values in a latent."""
        height, width = self.size(model)
        return self.channels * (height // self.factor) * (width // self.factor)

    def size(self, model: ModelConfig) -> tuple[int, int]:
        """Return height and width of an image in pixels."""
        return model.height or self.pixels, model.width or self.pixels


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed of a model on a GPU."""

    architecture: str
    gpu: str
    software: str
    image_seconds: float
    """Seconds for a complete image."""
    image_evaluations: int
    """Forward evaluations in it."""
    decode_seconds: float = 0.0
    """Seconds for decoding it; 0 if unknown, so that the evaluations include the decoding."""
    source: str

    @property
    def evaluation_seconds(self) -> float:
        """Seconds for one forward evaluation of one sample."""
        return (self.image_seconds - self.decode_seconds) / self.image_evaluations


def architecture_of(model: ModelConfig) -> Architecture | None:
    """Return the architecture of a model by the name of its repository or folder, if known."""
    place = model.hub or model.path
    assert place is not None, "checked by the configuration"
    name = PurePath(place).name.lower()
    for architecture in ARCHITECTURES:
        if name in (repository.lower() for repository in architecture.repositories):
            return architecture
    return None


def _measured(architecture: str, batch: int, evaluation: float, decoding: float) -> Speed:
    """Return a speed that we measured, from seconds per sample of a batch."""
    return Speed(
        architecture=architecture,
        gpu="H200",
        software="PyTorch",
        image_seconds=evaluation + decoding,
        image_evaluations=1,
        decode_seconds=decoding,
        source=f"benchmarks/full_size, batches of {batch}, PyTorch 2.11",
    )


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

SPEEDS = (
    # 30 steps. The card does not state the guidance. Its LCM row (4 unguided steps: 192 ms of UNet
    # on A100) matches two evaluations per step. The decoding is that of the LCM row, in TensorRT,
    # for which the card has more figures; workers run PyTorch.
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
        gpu="H100",
        software="PyTorch",
        image_seconds=2.496,
        image_evaluations=60,
        decode_seconds=0.127,
        source=_SDXL_CARD,
    ),
    # 100 steps with guidance. The card does not state the size. The model's default is 1024 × 1024.
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
        gpu="H800",
        software="PyTorch",
        image_seconds=28.0,
        image_evaluations=200,
        source=_HUNYUAN_CARD,
    ),
    # 50 steps in bfloat16. The guidance of SD3.5 is not stated. Two evaluations per step are
    # assumed, the default of the pipeline. No figure in text was found for an A100.
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
        software=COMPILED,
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
        software=COMPILED,
        image_seconds=8.198,
        image_evaluations=50,
        source=_ORT,
    ),
    # Measured with random weights, which are as fast as trained ones, in the 16-bit types of the
    # recipes.
    _measured("SDXL", batch=8, evaluation=0.0178, decoding=0.109),
    _measured("Hunyuan-DiT", batch=8, evaluation=0.0715, decoding=0.075),
    _measured("SD3.5 large", batch=4, evaluation=0.0892, decoding=0.080),
    _measured("FLUX.1", batch=4, evaluation=0.1775, decoding=0.080),
)
