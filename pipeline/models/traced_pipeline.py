"""A diffusers pipeline whose own call is traced: what it tells its network, and where it goes.

No family of models is described here. The call itself is run, with a scheduler that notes instead
of stepping and, where only the arguments matter, with a network that notes instead of computing.

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

from pipeline.models.families import Family, Inputs
from pipeline.models.families.family import NEGATIVE
from pipeline.models.network_call import NetworkCall
from pipeline.models.recording_scheduler import RecordingScheduler


@dataclass(frozen=True, kw_only=True)
class TracedPipeline:
    """A pipeline at one size of its images."""

    pipe: Any
    family: Family
    options: Mapping[str, Any]
    """What every call is told beside inputs, steps and guidance: the size, above all."""
    text_options: Mapping[str, Any] = field(default_factory=dict)
    """What encoding is told beside what the family tells it; the call is told the same."""
    negative_prompt: str | None = None
    """The text of the prediction without the prompt; by default the pipeline's own, which is no
    text or, for SDXL, zeros."""

    @cached_property
    def network(self) -> nn.Module:
        """The network that predicts."""
        name = "unet" if hasattr(self.pipe, "unet") else "transformer"
        network: nn.Module = getattr(self.pipe, name)
        return network

    @cached_property
    def device(self) -> torch.device:
        """Where the network computes, also while its weights wait elsewhere."""
        return torch.device(self.pipe._execution_device)

    @cached_property
    def dtype(self) -> torch.dtype:
        """Type of the network's weights and activations."""
        network: Any = self.network
        dtype: torch.dtype = network.dtype
        return dtype

    def encode(self, prompt: str, *, negative: bool) -> Inputs:
        """Inputs of one prompt, one row each; or those of the prediction without it."""
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
            prompt = without
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
        """What the network is told first, without guidance; ``latents`` are drawn if not given."""
        return self._noted(inputs, latents, 1, RecordingScheduler(self.pipe.scheduler))[0]

    def timestep_args(
        self,
        inputs: Inputs,
        latents: Tensor,
        num_inference_steps: int,
        scheduler: RecordingScheduler,
    ) -> list[Tensor]:
        """What the network is told of the time at each of N steps; nothing is computed."""
        calls = self._noted(inputs, latents, num_inference_steps, scheduler)
        return [call.timestep for call in calls]

    def outputs(
        self,
        inputs: Inputs,
        visits: Sequence[Tensor],
        scheduler: RecordingScheduler,
        **guidance: float,
    ) -> list[Tensor]:
        """What the call makes of the network's predictions at each of the latents ``visits``.

        Guidance is the call's own. Nothing is replaced but the scheduler.
        """
        with self._traced(None, scheduler):
            self._call(inputs, len(visits), latents=visits[0], **guidance)
        return scheduler.outputs

    def decode(self, inputs: Inputs, latents: Tensor) -> Tensor:
        """Images of clean latents (B, ...), as the call makes them: (B, 3, H, W) in [0, 1], or
        (B, F, 3, H, W) of F frames. ``inputs`` are any, for B rows.
        """
        with (
            self._traced(
                lambda call: torch.zeros_like(call.latents),
                RecordingScheduler(self.pipe.scheduler, visits=[latents, latents]),
            ),
            _without_remarks(),
        ):
            images: Tensor = self._call(inputs, 1, latents=latents, output_type="pt")[0]
        return images

    def _noted(
        self,
        inputs: Inputs,
        latents: Tensor | None,
        num_inference_steps: int,
        scheduler: RecordingScheduler,
    ) -> list[NetworkCall]:
        """The network's calls in N steps without guidance; nothing is computed."""
        calls: list[NetworkCall] = []

        def note(call: NetworkCall) -> Tensor:
            calls.append(call)
            return torch.zeros_like(call.latents)

        # The default of most pipelines draws latents on the device.
        generator = torch.Generator("cpu").manual_seed(0)
        with self._traced(note, scheduler):
            self._call(inputs, num_inference_steps, latents=latents, generator=generator)
        return calls

    def _call(self, inputs: Inputs, num_inference_steps: int, **options: Any) -> Any:
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
        """The pipeline with another scheduler, and with ``network`` in place of its own if given.

        Both are set behind the pipeline's back: it would write the scheduler's class into its
        configuration, and hooks of an offloaded network have to stay where they are.
        """
        module = self.network
        attributes, own = vars(self.pipe), vars(module).get("forward")
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
                if own is not None:
                    vars(module)["forward"] = own


@contextmanager
def _without_remarks() -> Iterator[None]:
    """SDXL's decoder is cast to float32 and back for every batch, and diffusers warns of each."""
    logger = logging.getLogger("diffusers.models.modeling_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
