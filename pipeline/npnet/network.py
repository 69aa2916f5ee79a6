"""A noise prompt network: three lines beside any pipeline of diffusers.

    npnet = NPNet.load("folder")
    golden_noise = npnet(noise, prompt_embeds)
    image = pipe(prompt_embeds=prompt_embeds, latents=golden_noise, ...).images[0]

``prompt_embeds`` is what the pipeline's ``encode_prompt`` gives first: (B, L, D), for SDXL
(B, 77, 2048).
"""

from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline.errors import ModelError
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


class NPNet(nn.Module):
    """Source noise and prompt to golden noise. A new network leaves the noise as it is.

    ``residual_std`` is the standard deviation of golden − source over the training pairs: the
    unit of the small network's output, and of the training loss of both. It is saved with the
    weights. ``origin`` says what the network was trained for and on. It is None before training,
    and where an earlier version saved the network.
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
        """A network with random weights that follow from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(layout)

    def forward(self, noise: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Golden noise (B, ...) for a noise (B, ...) and prompt embeddings (B, L, D).

        It computes in float32 and returns the type of ``noise``. A row's result depends on its
        own noise and prompt alone. Raises ``ModelError`` for tensors of another shape than the
        network was made for.
        """
        self._check(noise, prompt_embeds)
        latents = self.layout.latents
        source, embeds = noise.float(), prompt_embeds.float()
        if latents is not None:
            source = latents.to_pictures(source)
            embeds = embeds.repeat_interleave(len(source) // len(noise), dim=0)
        predicted: Tensor = self.network(source, embeds).float()
        if isinstance(self.network, SmallNetwork):
            predicted = source + self.residual_std * predicted
        if latents is not None:
            predicted = latents.to_noises(predicted)
        return predicted.to(noise.dtype)

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> Self:
        """Read a folder that ``save`` wrote, ready for use. Raises ``ModelError``."""
        described, weights = read_network(Path(folder))
        network = cls.new(described.layout, seed=0)
        network.origin = described.origin
        try:
            network.load_state_dict(load(weights))
        except (RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{Path(folder) / WEIGHTS_FILE} is damaged, or of another network than "
                f"{CONFIG_FILE} describes: {error}"
            ) from error
        return network.to(device).eval().requires_grad_(False)

    def save(self, folder: str | Path) -> None:
        """Write layout, origin and weights in float32. A crash leaves no half of a network."""
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
            raise ModelError(f"{len(noise)} noises and {shape[0]} prompts: give one prompt a noise")
