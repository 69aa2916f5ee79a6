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
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.identity import canonical_json, file_sha256, sha256
from pipeline.npnet.config import LAYOUT, Layout, SmallLayout
from pipeline.npnet.small import SmallNetwork
from pipeline.npnet.two_branch import TwoBranchNetwork
from pipeline.storage.durable import whole_file, write_whole

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class NPNet(nn.Module):
    """Source noise and prompt to golden noise. A new network leaves the noise as it is.

    ``residual_std`` is the standard deviation of golden − source over the training pairs: the
    unit of the small network's output, and of the training loss of both. It is saved with the
    weights.
    """

    residual_std: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
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
        """Golden noise (B, C, H, W) for a noise (B, C, H, W) and prompt embeddings (B, L, D).

        It computes in float32 and gives back the type of ``noise``. A row's result depends on its
        own noise and prompt alone. Raises ``ModelError`` for tensors of another shape than the
        network was made for.
        """
        self._check(noise, prompt_embeds)
        source, embeds = noise.float(), prompt_embeds.float()
        predicted: Tensor = self.network(source, embeds).float()
        if isinstance(self.network, SmallNetwork):
            predicted = source + self.residual_std * predicted
        return predicted.to(noise.dtype)

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> Self:
        """Read a folder that ``save`` wrote, ready for use. Raises ``ModelError``."""
        path = Path(folder)
        try:
            layout = LAYOUT.validate_json((path / CONFIG_FILE).read_bytes())
            network = cls.new(layout, seed=0)
            network.load_state_dict(load_file(path / WEIGHTS_FILE))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _missing(path) from error
        except ValidationError as error:
            raise ModelError(f"{path / CONFIG_FILE} describes no network: {error}") from error
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{path / WEIGHTS_FILE} is damaged, or of another network than {CONFIG_FILE} "
                f"describes: {error}"
            ) from error
        return network.to(device).eval().requires_grad_(False)

    def save(self, folder: str | Path) -> None:
        """Write weights, in float32, and, when they are complete, the layout."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        weights = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        with whole_file(path / WEIGHTS_FILE) as unfinished:
            save_file(weights, unfinished)
        layout = self.layout.model_dump_json(indent=2) + "\n"
        write_whole(path / CONFIG_FILE, [layout.encode()])

    def _check(self, noise: Tensor, prompt_embeds: Tensor) -> None:
        expected = self.layout.latent_shape
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


def network_digest(folder: str | Path) -> str:
    """SHA-256 of a network's two files; what lies beside them tells of its training.

    Raises ``ModelError`` if one is missing.
    """
    path = Path(folder)
    try:
        files = {name: file_sha256(path / name) for name in (CONFIG_FILE, WEIGHTS_FILE)}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(path) from error
    return sha256(canonical_json(files))


def _missing(path: Path) -> ModelError:
    return ModelError(
        f"{path}: no noise prompt network here: the folder must hold {CONFIG_FILE} and "
        f"{WEIGHTS_FILE}, as python -m jobs.train_npnet writes them"
    )
