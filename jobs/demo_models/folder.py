"""Saving of the trained networks as a diffusers folder, in half precision."""

import json
from pathlib import Path

from jobs.demo_models.diffusion import DiffusionModel
from jobs.demo_models.untyped import Autoencoder, Pipeline, diffusers
from pipeline.storage.durable import whole_folder


def assemble(model: DiffusionModel, vae: Autoencoder) -> Pipeline:
    """Return a diffusers pipeline without safety checker and feature extractor."""
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
    """Write the folder with float16 weights and convert the pipeline back to float32.

    Its weights then equal those of the files, so the evaluated weights are the shipped ones.
    """
    parts = (pipe.unet, pipe.text_encoder, pipe.vae)
    for part in parts:
        part.half()
    with whole_folder(folder) as unfinished:
        pipe.save_pretrained(unfinished, safe_serialization=True)
        _declare_float32(unfinished / "text_encoder" / "config.json")
    for part in parts:
        part.float()


def _declare_float32(path: Path) -> None:
    """Make transformers load the text encoder in float32, like diffusers the other networks.

    transformers uses the dtype of a configuration and diffusers ignores it. With float16 the
    folder would load in two precisions that do not work together.
    """
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n", "utf-8")
