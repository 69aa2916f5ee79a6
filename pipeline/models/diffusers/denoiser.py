"""The ``Denoiser`` of a diffusers pipeline, for every supported family.

The pipeline's call is traced once (``traced_pipeline``) to record which arguments its network
receives. From then on the network is called directly, with these arguments and our latents. When a
model is loaded, ``parity`` checks that both ways give the same predictions. B batch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config.model import ModelConfig
from pipeline.config.proposers import Spacing
from pipeline.core.errors import ModelError, UserError
from pipeline.diffusion.denoiser import GUIDANCE, Conditioning, EncodedPrompts, Guidance
from pipeline.diffusion.schedule import Schedule
from pipeline.models.diffusers.call_options import given, refuse_options
from pipeline.models.diffusers.families import FAMILIES, Inputs
from pipeline.models.diffusers.noise_levels import (
    TrainingSchedule,
    flow_schedule,
    is_flow,
    refuse_other_flows,
)
from pipeline.models.diffusers.parity import check_parity, refuse_other_size
from pipeline.models.diffusers.pipelines import load_pipeline
from pipeline.models.diffusers.recording import (
    NetworkCall,
    RecordingScheduler,
    batched_paths,
    replaced,
    tensors,
)
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.diffusers.schedulers import NativeScheduler, refuse_other_schedulers
from pipeline.models.diffusers.text_encoders import TextLimits
from pipeline.models.diffusers.traced_pipeline import TracedPipeline


class DiffusersDenoiser:
    """The network, text encoders and decoder of a pipeline, for images of one size."""

    def __init__(
        self,
        pipe: Any,
        where: str,
        *,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        guidance: Guidance = "classifier_free",
        embedded_guidance: float | None = None,
        negative_prompt: str | None = None,
        max_sequence_length: int | None = None,
        clip_skip: int | None = None,
    ) -> None:
        """Wrap ``pipe``; ``where`` names the model in error messages.

        ``height`` and ``width`` of the image are in pixels. ``embedded_guidance`` is the scale that
        a guidance-distilled network receives while classifier-free guidance is used.
        ``negative_prompt``, ``max_sequence_length`` and ``clip_skip`` are passed to the pipeline.

        Raises ``ModelError`` for a model that is not supported, and if our predictions differ from
        those of the pipeline's call.
        """
        self.guidance = guidance
        self._where = where
        self._pipe = pipe
        family = FAMILIES[type(pipe).__name__]
        size = {"height": height, "width": width, "num_frames": num_frames}
        text = given(max_sequence_length=max_sequence_length, clip_skip=clip_skip)
        some = given(
            num_frames=num_frames,
            embedded_guidance=embedded_guidance,
            negative_prompt=negative_prompt,
        )
        refuse_options(family, [*some, *text], where)
        family.prepare(pipe)
        self._traced = TracedPipeline(
            pipe=pipe,
            family=family,
            options=given(**size, guidance_scale=embedded_guidance),
            text_options=text,
            negative_prompt=negative_prompt,
        )
        pipe.set_progress_bar_config(disable=True)
        scheduler = pipe.scheduler
        self._training = None if is_flow(scheduler) else TrainingSchedule(scheduler, where)
        self._text_limits = TextLimits.of(pipe, family, max_sequence_length, where)
        self._refuse_unsupported()
        self._text_limits.refuse_cut(negative_prompt or "", where)
        self._schedules: dict[tuple[int, Spacing | None], Schedule] = {}
        self._native_schedulers: dict[int, Any] = {}
        self._network_timesteps: dict[float, Tensor] = {}
        with torch.no_grad():
            self._empty = self._encode_empty_prompt(clip_skip)
            call = self._first_call(1)
            self.latent_shape = tuple(call.latents.shape[1:])
            self._arguments = call.arguments
            # Calls with one and with two prompts tell apart what belongs to a prompt (embeddings,
            # masks) and what is the same for all (rotary tables, position ids).
            self._batched = batched_paths(call.arguments, self._first_call(2).arguments)
            self._refuse_other_guidance()
            other = self._training is not None and self._training.other_levels
            # Our steps cannot visit levels between those of the training (Karras' sigmas and the
            # like). Such a model is checked at evenly spaced levels instead.
            check_parity(self, self._traced, where, "leading" if other else None)
            if given(**size):
                images = self._images(torch.zeros(1, *self.latent_shape))
                refuse_other_size(pipe, images, where, **size)

    @classmethod
    def load(
        cls, folder: Path, *, device: torch.device, dtype: torch.dtype, **options: Any
    ) -> "DiffusersDenoiser":
        """Read a model folder. ``options`` are passed to the constructor.

        Raises ``ModelError`` for a folder that is missing, damaged or of an unsupported class.
        """
        model = resolve_model(ModelConfig(name=folder.name, path=str(folder)))
        pipe = load_pipeline(model, dtype)
        pipe.to(device)
        return cls(pipe, str(folder), **options)

    @property
    def device(self) -> torch.device:
        """Device that the network computes on."""
        return self._traced.device

    def schedule(self, num_inference_steps: int, spacing: Spacing | None = None) -> Schedule:
        """Return the N-step schedule of the model. ``spacing`` replaces that of its scheduler."""
        key = (num_inference_steps, spacing)
        if key not in self._schedules:
            self._schedules[key] = (
                self._flow_schedule(num_inference_steps, spacing)
                if self._training is None
                else self._training_schedule(self._training, num_inference_steps, spacing)
            )
        return self._schedules[key]

    def native_scheduler(self, num_inference_steps: int) -> NativeScheduler:
        """Return a fresh N-step run of the pipeline's scheduler, configured as by its call."""
        if num_inference_steps not in self._native_schedulers:
            probe = RecordingScheduler(self._pipe.scheduler)
            self._record_timesteps(probe, num_inference_steps)
            # The call may pass timesteps or sigmas, so the copy that it configured is kept.
            refuse_other_schedulers(probe.inner, num_inference_steps, self._where)
            self._native_schedulers[num_inference_steps] = probe.inner
        return NativeScheduler(self._native_schedulers[num_inference_steps])

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Run the text encoders once for each prompt and once for the negative prompt."""
        # One prompt at a time, padded to a fixed length. So an encoding depends on its prompt
        # alone, bit for bit, and not on the other prompts of the batch.
        encoded = [self._traced.encode(prompt, negative=False) for prompt in prompts]
        # The negative prompt is the same for all rows, so it is encoded once and repeated.
        without = self._conditioning(self._traced.encode("", negative=True))
        return EncodedPrompts(
            conditional=self._conditioning(
                {name: torch.cat([inputs[name] for inputs in encoded]) for name in encoded[0]}
            ),
            unconditional=without.take([0] * len(prompts)),
            truncated=tuple(bool(self._text_limits.cut(prompt)) for prompt in prompts),
        )

    @torch.no_grad()
    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        """Evaluate the network once: float32 (B, ...) latents to its float32 output."""
        # The recorded tensor has the type and scale that the pipeline uses. FLUX in bfloat16, for
        # example, rounds the timestep before it divides by 1000.
        network_timestep = self._network_timesteps[timestep]
        output: Tensor = self._traced.network(
            self._as_input(latents),
            timestep=(
                network_timestep.expand(len(latents)) if network_timestep.ndim else network_timestep
            ),
            **replaced(self._arguments, conditioning.tensors),
        )[0]
        if output.shape[1] == 2 * latents.shape[1]:
            output = output.chunk(2, dim=1)[0]  # some networks also predict a variance
        return output.to(torch.float32)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode clean latents (B, ...) to images, float32 (B, 3, H, W) in [0, 1].

        NaN stays NaN. For a video model, return the middle frame.
        """
        images = self._images(latents)
        if images.ndim == 5:
            images = images[:, images.shape[1] // 2]
        return images.to(torch.float32)

    def _images(self, latents: Tensor) -> Tensor:
        """Decode clean latents to images (B, 3, H, W) or to videos (B, F, 3, H, W)."""
        return self._traced.decode(self._rows(len(latents)), self._as_input(latents))

    def _training_schedule(
        self, training: TrainingSchedule, num_inference_steps: int, spacing: Spacing | None
    ) -> Schedule:
        schedule = training.schedule(num_inference_steps, spacing)
        # The levels are ours. The call runs only to record the timestep tensor of each of them.
        probe = RecordingScheduler(self._pipe.scheduler, timesteps=schedule.timesteps)
        self._record_timesteps(probe, num_inference_steps)
        return schedule

    def _flow_schedule(self, num_inference_steps: int, spacing: Spacing | None) -> Schedule:
        if spacing is not None:
            raise UserError(
                f"timestep_spacing {spacing!r}: {self._where} is a flow-matching model, whose "
                "levels follow from its shift; remove timestep_spacing"
            )
        probe = RecordingScheduler(self._pipe.scheduler)
        self._record_timesteps(probe, num_inference_steps)
        return flow_schedule(probe)

    @torch.no_grad()
    def _record_timesteps(self, probe: RecordingScheduler, num_inference_steps: int) -> None:
        """Record which timestep tensor the network receives for each timestep of the scheduler."""
        latents = self._as_input(torch.zeros(1, *self.latent_shape))
        recorded = self._traced.timestep_args(self._empty, latents, num_inference_steps, probe)
        if any(tensor.shape not in ((), (1,)) for tensor in recorded):
            raise ModelError(
                f"{self._where}: its network receives a timestep for each part of the latents; "
                "such models are not supported"
            )
        # A second-order scheduler repeats the timestep of a level; both entries are the same.
        self._network_timesteps |= dict(zip(map(float, probe.timesteps), recorded, strict=True))

    def _first_call(self, rows: int) -> NetworkCall:
        try:
            return self._traced.first_call(self._rows(rows))
        except ValueError as error:
            # Pipelines raise ValueError for sizes and lengths that they do not support.
            raise ModelError(f"{self._where}: {error}") from error

    def _rows(self, count: int) -> Inputs:
        """Return the inputs of the empty prompt, repeated for ``count`` rows."""
        return {
            name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in self._empty.items()
        }

    def _conditioning(self, inputs: Inputs) -> Conditioning:
        """Return the network's arguments that depend on the prompts. The network does not run."""
        # The call adds arguments that encode_prompt does not return, such as SDXL's time ids.
        rows = len(next(iter(inputs.values())))
        latents = self._as_input(torch.zeros(rows, *self.latent_shape))
        arguments = self._traced.first_call(inputs, latents).arguments
        return Conditioning(
            tensors={path: tensor for path, tensor in tensors(arguments) if path in self._batched}
        )

    def _as_input(self, latents: Tensor) -> Tensor:
        return latents.to(self._traced.device, self._traced.dtype)

    def _encode_empty_prompt(self, clip_skip: int | None) -> Inputs:
        try:
            return self._traced.encode("", negative=False)
        except IndexError as error:
            # diffusers indexes the hidden states with clip_skip and does not check its range.
            if clip_skip is None:
                raise
            raise ModelError(
                f"{self._where}: clip_skip = {clip_skip} in [model] skips more layers than its "
                "text encoder has"
            ) from error

    def _refuse_unsupported(self) -> None:
        config: Any = self._traced.network.config
        refusal = self._traced.family.refusal(self._pipe)
        if config.get("time_cond_proj_dim") is not None:
            refusal = (
                "the UNet takes its guidance as an embedding (time_cond_proj_dim), which is not "
                "supported; fuse the LoRA of the same model into its base model instead"
            )
        if refusal is not None:
            raise ModelError(f"{self._where}: {refusal}")
        if self._training is None:
            refuse_other_flows(self._pipe.scheduler, self._where)

    def _refuse_other_guidance(self) -> None:
        if self.guidance == "embedded" and GUIDANCE not in self._batched:
            raise ModelError(
                f"{self._where}: the network does not receive its guidance scale; "
                "set guidance = 'classifier_free' in [model]"
            )
