"""The trained parts as one diffusers folder, in half precision."""

from pathlib import Path

from pipeline.demo.training.diffusion import DiffusionModel
from pipeline.demo.training.untyped import Autoencoder, Pipeline, diffusers


def assemble(model: DiffusionModel, vae: Autoencoder) -> Pipeline:
    """The pipeline that diffusers itself would load; no safety checker, no feature extractor."""
    return diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=model.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_half(pipe: Pipeline, folder: Path) -> None:
    """Write the folder with float16 weights, and give the pipeline back in float32.

    The weights are then those of the files: what is evaluated is what is shipped.
    """
    parts = (pipe.unet, pipe.text_encoder, pipe.vae)
    for part in parts:
        part.half()
    pipe.save_pretrained(folder, safe_serialization=True)
    for part in parts:
        part.float()
