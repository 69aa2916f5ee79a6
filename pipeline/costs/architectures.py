"""What is known of published models without their weights: the shape of their latents."""

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
