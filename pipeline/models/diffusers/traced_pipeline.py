"""Tracing of a diffusers pipeline: the arguments of its network, its predictions and its decoding.

The pipeline's call itself is run, so nothing here is specific to a family of models. Its scheduler
is replaced by one that records instead of stepping. Where only the arguments matter, its network is
replaced by a function that records instead of computing.

B batch, N num_inference_steps.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.untrusted_patterns import panics_named
from pipeline.models.diffusers.families import Family, Inputs
from pipeline.models.diffusers.families.family import NEGATIVE
from pipeline.models.diffusers.recording import NetworkCall, RecordingScheduler


@dataclass(frozen=True, kw_only=True)
class TracedPipeline:
    """A pipeline that makes images of one size, and methods that trace its call."""

    pipe: Any
    family: Family
    options: Mapping[str, Any]
    """Keyword arguments of every call, such as the size of images."""
    text_options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of both ``encode_prompt`` and the call."""
    negative_prompt: str | None = None
    """Negative prompt. The default is that of the pipeline: no text, or zeros for SDXL."""

    @cached_property
    def network(self) -> nn.Module:
        """UNet or transformer of the pipeline."""
        name = "unet" if hasattr(self.pipe, "unet") else "transformer"
        network: nn.Module = getattr(self.pipe, name)
        return network

    @cached_property
    def device(self) -> torch.device:
        """Device that the network computes on, also while its weights are offloaded."""
        return torch.device(self.pipe._execution_device)

    @cached_property
    def dtype(self) -> torch.dtype:
        """Data type of the network's weights and activations."""
        network: Any = self.network
        dtype: torch.dtype = network.dtype
        return dtype

    def encode(self, prompt: str, *, negative: bool) -> Inputs:
        """Return the call's inputs for one prompt, or for the negative prompt if ``negative``."""
        without = self.negative_prompt or ""
        if self.family.encode is not None:
            return self.family.encode(self.pipe, prompt, without if negative else None)
        names = self.family.encoded
        has_negative = any(name and name.startswith(NEGATIVE) for name in names)
        options: dict[str, Any] = {}
        if has_negative:
            options["do_classifier_free_guidance"] = negative
            if negative and self.negative_prompt is not None:
                options["negative_prompt"] = self.negative_prompt
        elif negative:
            # This pipeline has no separate negative inputs: they are those of another prompt.
            prompt = without
        with panics_named(type(self.pipe).__name__):
            encoded = self.pipe.encode_prompt(
                prompt=prompt,
                device=self.device,
                **options,
                **{**self.family.encode_options, **self.text_options},
            )
        wanted = NEGATIVE if negative and has_negative else ""
        return {
            name.removeprefix(wanted): tensor
            for name, tensor in zip(names, encoded, strict=True)
            if name is not None and tensor is not None and name.startswith(NEGATIVE) == bool(wanted)
        }

    def first_call(self, inputs: Inputs, latents: Tensor | None = None) -> NetworkCall:
        """Return the network's first call, without guidance.

        Without ``latents``, the pipeline draws them.
        """
        return self._record_calls(inputs, latents, 1, RecordingScheduler(self.pipe.scheduler))[0]

    def timestep_args(
        self,
        inputs: Inputs,
        latents: Tensor,
        num_inference_steps: int,
        scheduler: RecordingScheduler,
    ) -> list[Tensor]:
        """Return the timestep that the network receives at each of N steps, without running it."""
        calls = self._record_calls(inputs, latents, num_inference_steps, scheduler)
        return [call.timestep for call in calls]

    def outputs(
        self,
        inputs: Inputs,
        visits: Sequence[Tensor],
        scheduler: RecordingScheduler,
        **guidance: float,
    ) -> list[Tensor]:
        """Return the guided predictions of the call at each of the latents ``visits``.

        Network and guidance are those of the pipeline. Only the scheduler is replaced.
        """
        with self._traced(None, scheduler):
            self._call(inputs, len(visits), latents=visits[0], **guidance)
        return scheduler.outputs

    def decode(self, inputs: Inputs, latents: Tensor) -> Tensor:
        """Decode clean latents (B, ...) with the pipeline's call.

        Returns images (B, 3, H, W) in [0, 1], or videos (B, F, 3, H, W) of F frames. The result
        does not depend on ``inputs``, which must have B rows.
        """
        # One step whose result is the latents themselves, so the call goes on to decode them.
        with (
            self._traced(
                lambda call: torch.zeros_like(call.latents),
                RecordingScheduler(self.pipe.scheduler, visits=[latents, latents]),
            ),
            _without_cast_warnings(),
        ):
            images: Tensor = self._call(inputs, 1, latents=latents, output_type="pt")[0]
        return images

    def _record_calls(
        self,
        inputs: Inputs,
        latents: Tensor | None,
        num_inference_steps: int,
        scheduler: RecordingScheduler,
    ) -> list[NetworkCall]:
        """Return the network's calls in N steps without guidance. The network does not run."""
        calls: list[NetworkCall] = []

        def record(call: NetworkCall) -> Tensor:
            calls.append(call)
            # Only the recording scheduler receives the prediction, and it does not step. So zeros
            # will do, also for networks whose output has more channels than the latents.
            return torch.zeros_like(call.latents)

        # Without a generator, most pipelines draw latents on the device.
        generator = torch.Generator("cpu").manual_seed(0)
        with self._traced(record, scheduler):
            self._call(inputs, num_inference_steps, latents=latents, generator=generator)
        return calls

    def _call(self, inputs: Inputs, num_inference_steps: int, **options: Any) -> Any:
        # Later entries replace earlier ones: guidance is off unless ``options`` turn it on.
        off = {self.family.guidance_option: 1.0, "output_type": "latent", "return_dict": False}
        return self.pipe(
            num_inference_steps=num_inference_steps,
            **{
                **off,
                **self.family.call_options,
                **self.options,
                **self.text_options,
                **inputs,
                **options,
            },
        )

    @contextmanager
    def _traced(
        self, network: Callable[[NetworkCall], Tensor] | None, scheduler: RecordingScheduler
    ) -> Iterator[None]:
        """Replace the pipeline's scheduler and, if ``network`` is given, its network's forward."""
        # Both are replaced in the objects' dictionaries. An ordinary assignment would write the
        # scheduler's class into the pipeline's configuration, and a new network would lack the
        # hooks of an offloaded one.
        module = self.network
        attributes, original_forward = vars(self.pipe), vars(module).get("forward")
        before = attributes["scheduler"]

        def forward(*args: Any, **options: Any) -> tuple[Tensor]:
            assert network is not None
            return (network(NetworkCall.of(module, args, options)),)

        attributes["scheduler"] = scheduler
        if network is not None:
            vars(module)["forward"] = forward
        try:
            yield
        finally:
            attributes["scheduler"] = before
            if network is not None:
                del vars(module)["forward"]
                if original_forward is not None:
                    vars(module)["forward"] = original_forward


@contextmanager
def _without_cast_warnings() -> Iterator[None]:
    """Silence the warnings of diffusers about casts of a decoder."""
    # SDXL's decoder is cast to float32 and back for every batch, with a warning each time.
    logger = logging.getLogger("diffusers.models.modeling_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
