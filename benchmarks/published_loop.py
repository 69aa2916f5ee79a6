"""The collector of the paper's authors, written anew from its description, for comparison.

Golden Noise for Diffusion Models, arXiv 2411.09502: a candidate is a batch of one. Its source image
is a call of the pipeline. A second pass re-denoises: it encodes the prompt again, takes one DDIM
step, inverts it with diffusers' inverse scheduler, both with two predictions, and calls the
pipeline for the golden image. Noises are written as an npz file, and both images are judged one
after the other. That makes 4·N + 4 evaluations for N steps.

Left out in its favour: its judge is read from disk again for each image. Corrected here: it passes
a timestep to the inverse scheduler that only diffusers before 0.22 understood in its way.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionXLPipeline
from torch import Tensor

from pipeline.core.records import Candidate
from pipeline.models.reward import Reward


@dataclass(frozen=True, kw_only=True)
class Collected:
    """One candidate of the published loop."""

    golden_noise: Tensor
    """Golden noise: float32 (...)."""
    source_score: float
    golden_score: float


class PublishedLoop:
    """Collects candidates one by one and writes their noises to ``folder``."""

    def __init__(
        self,
        pipe: Any,
        judge: Reward,
        folder: Path,
        *,
        num_inference_steps: int,
        guidance_scale: float,
        inversion_guidance_scale: float,
    ) -> None:
        # A second pipeline around the same components, because its scheduler is replaced.
        self._pipe = type(pipe)(**pipe.components, **_options(pipe))
        self._pipe.set_progress_bar_config(disable=True)
        self._pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
        self._inverse = DDIMInverseScheduler.from_config(pipe.scheduler.config)
        self._judge, self._folder = judge, folder
        self._steps, self._scale = num_inference_steps, guidance_scale
        self._inversion_scale = inversion_guidance_scale

    def collect(self, candidate: Candidate, source_noise: Tensor) -> Collected:
        """Collect a candidate from its source noise, float32 (...)."""
        device, dtype = self._pipe.unet.device, self._pipe.unet.dtype
        noise = source_noise[None].to(device, dtype)
        source_image = self._image(candidate.prompt, noise)
        golden = self._redenoised(candidate.prompt, noise)
        # Rounded to what is stored, as a loop in half precision does.
        stored = golden.half()
        golden_image = self._image(candidate.prompt, stored.to(dtype))
        path = self._folder / f"{candidate.index}_{candidate.seed}.npz"
        np.savez(path, noise.half().cpu().numpy(), stored.cpu().numpy(), candidate.index)
        scores = [self._score(candidate.prompt, each) for each in (source_image, golden_image)]
        with (self._folder / "log.txt").open("a") as log:
            log.write(json.dumps({"index": candidate.index, "scores": scores}) + "\n")
        return Collected(
            golden_noise=golden[0].float().cpu(), source_score=scores[0], golden_score=scores[1]
        )

    def _image(self, prompt: str, noise: Tensor) -> Any:
        return self._pipe(
            prompt=prompt,
            latents=noise,
            num_inference_steps=self._steps,
            guidance_scale=self._scale,
            output_type="np",
        ).images[0]

    def _score(self, prompt: str, image: Any) -> float:
        pixels = torch.from_numpy((image * 255).round().astype("uint8"))
        return float(self._judge.score([prompt], pixels[None])[0])

    @torch.no_grad()
    def _redenoised(self, prompt: str, noise: Tensor) -> Tensor:
        pipe, device = self._pipe, self._pipe.unet.device
        arguments = self._arguments(prompt)
        pipe.scheduler.set_timesteps(self._steps, device=device)
        self._inverse.set_timesteps(self._steps, device=device)
        first = pipe.scheduler.timesteps[0]
        guided = self._guided(noise, first, arguments, self._scale)
        cleaner = pipe.scheduler.step(guided, first, noise, return_dict=False)[0]
        back = self._guided(cleaner, first, arguments, self._inversion_scale)
        # Since diffusers 0.22, a step to the level of a timestep is named by that timestep.
        inverted: Tensor = self._inverse.step(back, first, cleaner, return_dict=False)[0]
        return inverted

    def _guided(
        self, latents: Tensor, timestep: Tensor, arguments: dict[str, Any], scale: float
    ) -> Tensor:
        both = torch.cat([latents, latents])
        output = self._pipe.unet(both, timestep, **arguments, return_dict=False)[0]
        unconditional, conditional = output.chunk(2)
        guided: Tensor = unconditional + scale * (conditional - unconditional)
        return guided

    def _arguments(self, prompt: str) -> dict[str, Any]:
        """Return the network's arguments for a prompt, without the prompt first."""
        pipe, device = self._pipe, self._pipe.unet.device
        encoded = pipe.encode_prompt(
            prompt=prompt,
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
        )
        arguments: dict[str, Any] = {"encoder_hidden_states": torch.cat([encoded[1], encoded[0]])}
        if isinstance(pipe, StableDiffusionXLPipeline):
            side = pipe.unet.config.sample_size * pipe.vae_scale_factor
            width = pipe.text_encoder_2.config.projection_dim
            times = pipe._get_add_time_ids(
                (side, side), (0, 0), (side, side), encoded[0].dtype, width
            ).to(device)
            arguments["added_cond_kwargs"] = {
                "text_embeds": torch.cat([encoded[3], encoded[2]]),
                "time_ids": torch.cat([times, times]),
            }
        return arguments


def _options(pipe: Any) -> dict[str, Any]:
    if isinstance(pipe, StableDiffusionXLPipeline):
        return {"add_watermarker": False}
    return {"requires_safety_checker": False}
