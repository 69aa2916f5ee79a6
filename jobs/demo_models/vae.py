"""Training of the autoencoder between 32×32 pictures and 8×8×4 latents.

Encoder and decoder are trained together first. Then the decoder is trained alone on the frozen
encoder's latents with a little noise, because sampled latents never equal encoded ones exactly.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from jobs.demo_models.data import Pictures, as_images, as_pixels
from jobs.demo_models.fit import Draws, StageCallback, StageSettings, fit
from pipeline.core.save_weights import save_weights
from pipeline.demo.drawing import SIDE
from pipeline.storage.durable import whole_file

KL_WEIGHT = 2e-4
LATENT_NOISE = 0.04
"""Standard deviation of the noise on latents (of unit variance) in the training of the decoder."""


def new_vae() -> AutoencoderKL:
    """Return an untrained autoencoder with 0.7 M parameters."""
    return AutoencoderKL(
        sample_size=SIDE,
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
    )


def train_vae(
    pictures: Pictures, settings: StageSettings, *, folder: Path, seed: int, report: StageCallback
) -> AutoencoderKL:
    """Train encoder and decoder, and set ``scaling_factor`` for latents of unit variance."""
    torch.manual_seed(seed)
    vae = new_vae().to(memory_format=torch.channels_last)

    def loss_of(draws: Draws, batch_size: int) -> Tensor:
        pixels = _draw_pixels(pictures, draws, batch_size)
        posterior = vae.encode(pixels).latent_dist
        # ``posterior.sample()`` would draw from torch's global generator.
        latents = posterior.mean + posterior.std * draws.normal(*posterior.mean.shape)
        kl: Tensor = posterior.kl().mean()
        return reconstruction_loss(vae.decode(latents).sample, pixels) + KL_WEIGHT * kl

    fit("vae", vae, loss_of, settings, folder=folder, seed=seed, report=report)
    sample = pictures.images[:2000]
    vae.register_to_config(scaling_factor=float(1.0 / encode(vae, as_pixels(sample), 1.0).std()))
    return vae


def train_decoder(
    vae: AutoencoderKL,
    pictures: Pictures,
    settings: StageSettings,
    *,
    folder: Path,
    seed: int,
    report: StageCallback,
) -> None:
    """Continue the training of the decoder alone, in place."""
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder]).requires_grad_(True)
    noise = LATENT_NOISE / float(vae.config["scaling_factor"])

    def loss_of(draws: Draws, batch_size: int) -> Tensor:
        pixels = _draw_pixels(pictures, draws, batch_size)
        latents = encode(vae, pixels, 1.0)
        latents = latents + noise * draws.normal(*latents.shape)
        return reconstruction_loss(vae.decode(latents).sample, pixels)

    fit("decoder", decoder, loss_of, settings, folder=folder, seed=seed, report=report)


def reconstruction_loss(decoded: Tensor, pixels: Tensor) -> Tensor:
    """Return L1, which gives crisp edges, plus four times the squared error, for colours."""
    return l1_loss(decoded, pixels) + 4.0 * mse_loss(decoded, pixels)


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: Tensor, scaling_factor: float) -> Tensor:
    """Return posterior means of ``pixels`` times ``scaling_factor``, float32 (B, 4, 8, 8)."""
    batches = [vae.encode(batch).latent_dist.mean for batch in torch.split(pixels, 250)]
    return torch.cat(batches) * scaling_factor


def cached_latents(vae: AutoencoderKL, pictures: Pictures, folder: Path) -> Tensor:
    """Return the scaled latents of ``pictures``, float32 (n, 4, 8, 8), cached in ``folder``."""
    path = folder / "latents.safetensors"
    if not path.exists():
        latents = encode(vae, as_pixels(pictures.images), float(vae.config["scaling_factor"]))
        with whole_file(path) as unfinished:
            save_weights({"latents": latents.contiguous()}, unfinished)
    return load_file(path)["latents"]


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode scaled latents to pixels, float32 (B, 3, H, W) near [-1, 1]."""
    scaling_factor = float(vae.config["scaling_factor"])
    return torch.cat(
        [vae.decode(part / scaling_factor).sample for part in torch.split(latents, 250)]
    )


def reconstruct(vae: AutoencoderKL, pictures: Pictures) -> Pictures:
    """Encode and decode every picture."""
    latents = encode(vae, as_pixels(pictures.images), float(vae.config["scaling_factor"]))
    return Pictures(as_images(decode(vae, latents)), pictures.scenes)


def _draw_pixels(pictures: Pictures, draws: Draws, batch_size: int) -> Tensor:
    rows = draws.numpy.integers(len(pictures), size=batch_size)
    return as_pixels(pictures.images[rows]).contiguous(memory_format=torch.channels_last)
