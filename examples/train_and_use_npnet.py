"""Train a noise prompt network on a data set and use it with a diffusers pipeline.

    python examples/train_and_use_npnet.py out/demo out/npnet

Twenty steps show how it works; `make demo-train` trains one that gains.
"""

import subprocess
import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from pipeline.config.file import BUNDLED
from pipeline.npnet import NPNet

PROMPT = "a red ring above a blue square"


def main(url: str, folder: Path, steps: int = 20, batch_size: int = 32) -> None:
    """Train, then draw one image from random noise and one from the network's noise."""
    model = BUNDLED / "model"
    train = ["--data", url, "--model", str(model), "--out", str(folder)]
    train += ["--steps", str(steps), "--batch-size", str(batch_size)]
    subprocess.run([sys.executable, "-m", "jobs.train_npnet", *train], check=True)

    pipe = StableDiffusionPipeline.from_pretrained(model)
    npnet = NPNet.load(folder)
    size = pipe.unet.config.sample_size
    noise = torch.randn(1, pipe.unet.config.in_channels, size, size, generator=torch.manual_seed(0))
    prompt_embeds, _ = pipe.encode_prompt(PROMPT, "cpu", 1, do_classifier_free_guidance=False)
    with torch.inference_mode():
        golden_noise = npnet(noise, prompt_embeds)
    for name, latents in (("standard", noise), ("golden", golden_noise)):
        # Golden noise helps most without guidance, so the demo's model is sampled without it.
        image = pipe(PROMPT, latents=latents, guidance_scale=1.0, num_inference_steps=20).images[0]
        image.save(folder / f"{name}.png")
        print(f"written: {folder / f'{name}.png'}")


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "out/demo"
    main(url, Path(sys.argv[2] if len(sys.argv) > 2 else "out/npnet"))
