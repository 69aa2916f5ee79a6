"""Noise prompt network, for use with any diffusers pipeline.

    npnet = NPNet.load("folder")
    golden_noise = npnet(noise, prompt_embeds)
    image = pipe(prompt_embeds=prompt_embeds, latents=golden_noise, ...).images[0]

``prompt_embeds`` is the first result of the pipeline's ``encode_prompt``: (B, L, D), for SDXL
(B, 77, 2048).
"""

from functools import partial
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline.core.errors import ModelError
from pipeline.core.weight_budget import skeleton
from pipeline.core.weight_files import WeightSizes
from pipeline.npnet.config import Layout, SmallLayout
from pipeline.npnet.network_files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Description,
    read_network,
    write_network,
)
from pipeline.npnet.origin import Origin
from pipeline.npnet.small import SmallNetwork
from pipeline.npnet.two_branch import TwoBranchNetwork

_MISFITS = (ArithmeticError, LookupError, RuntimeError, SafetensorError, TypeError, ValueError)
"""Errors of torch, transformers and safetensors for sizes or weights that fit no network."""


class NPNet(nn.Module):
    """Network that predicts golden noise from source noise and prompt embeddings.

    A new network returns its input. ``residual_std`` is the standard deviation of golden − source
    over the training pairs: the unit of the small network's output and of the training loss. It is
    saved with the weights. ``origin`` records the model and the data of the training. It is None
    before training, and in networks that an earlier version saved.
    """

    residual_std: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.origin: Origin | None = None
        self.network: SmallNetwork | TwoBranchNetwork
        if isinstance(layout, SmallLayout):
            self.network = SmallNetwork(layout)
        else:
            self.network = TwoBranchNetwork(layout)
        self.register_buffer("residual_std", torch.ones(()))

    @classmethod
    def new(cls, layout: Layout, seed: int) -> Self:
        """Return a network with random weights from ``seed``. The global generator is unchanged."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(layout)

    def forward(self, noise: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Return golden noise (B, ...) for noise (B, ...) and prompt embeddings (B, L, D).

        Computes in float32 and returns the type of ``noise``. Each row depends only on its noise
        and prompt. Raises ``ModelError`` for tensors that do not have the shapes of the layout.
        """
        self._check(noise, prompt_embeds)
        latents = self.layout.latents
        source, embeds = noise.float(), prompt_embeds.float()
        if latents is not None:
            source = latents.to_pictures(source)
            # All frames of a film have its prompt.
            embeds = embeds.repeat_interleave(len(source) // len(noise), dim=0)
        predicted: Tensor = self.network(source, embeds).float()
        if isinstance(self.network, SmallNetwork):
            predicted = source + self.residual_std * predicted
        if latents is not None:
            predicted = latents.to_noises(predicted)
        return predicted.to(noise.dtype)

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> Self:
        """Load a folder that ``save`` wrote, for inference. Raises ``ModelError``."""
        described, weights = read_network(Path(folder))
        try:
            tensors = load(weights)
            build = partial(cls, described.layout)
            # Compared without memory first: the configuration may declare any size.
            skeleton(
                build, WeightSizes.of_tensors(tensors), Path(folder) / CONFIG_FILE
            ).load_state_dict({name: tensor.to("meta") for name, tensor in tensors.items()})
            # The random weights are replaced. ``new`` leaves the caller's generator unchanged.
            network = cls.new(described.layout, seed=0)
            network.load_state_dict(tensors)
            network.origin = described.origin
        except _MISFITS as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"{Path(folder) / WEIGHTS_FILE} is damaged or does not belong to {CONFIG_FILE}: "
                f"{error}"
            ) from error
        return network.to(device).eval().requires_grad_(False)

    def save(self, folder: str | Path) -> None:
        """Save layout, origin and float32 weights; ``load`` rejects an interrupted save."""
        weights = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        described = Description(layout=self.layout, origin=self.origin)
        write_network(Path(folder), described, save(weights))

    def _check(self, noise: Tensor, prompt_embeds: Tensor) -> None:
        expected = self.layout.noise_shape
        if tuple(noise.shape[1:]) != expected or noise.ndim != 1 + len(expected):
            raise ModelError(
                f"a noise of shape {tuple(noise.shape)} does not fit this network, which was "
                f"trained on (B, {', '.join(map(str, expected))}); train one on pairs of this size"
            )
        if isinstance(self.layout, SmallLayout):
            tokens, width = None, self.layout.prompt_width
        else:
            tokens, width = self.layout.prompt_shape
        shape = tuple(prompt_embeds.shape)
        if len(shape) != 3 or shape[2] != width or (tokens or shape[1]) != shape[1]:
            raise ModelError(
                f"prompt embeddings of shape {shape} do not fit this network, which was trained "
                f"on (B, {tokens or 'L'}, {width}); use the text encoder of the same model"
            )
        if len(noise) != shape[0]:
            raise ModelError(
                f"{len(noise)} noises and {shape[0]} prompts: give one prompt per noise"
            )
