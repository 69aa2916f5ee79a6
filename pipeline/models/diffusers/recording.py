"""Recording of a pipeline's call: the arguments of its network and the predictions at each step.

Keyword arguments of a network may contain dictionaries (SDXL's ``added_cond_kwargs``) or tuples
(rotary tables). The *path* of a value is the keys that lead to it, joined by dots.
"""

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class NetworkCall:
    """Arguments that a pipeline passed to its network."""

    latents: Tensor
    timestep: Tensor
    arguments: dict[str, Any]
    """All other keyword arguments."""

    @classmethod
    def of(
        cls, network: nn.Module, args: tuple[Any, ...], options: dict[str, Any]
    ) -> "NetworkCall":
        """Return the call ``network(*args, **options)``, with positional arguments by name."""
        signature = inspect.signature(type(network).forward)
        named = signature.bind(network, *args, **options).arguments
        # The first argument after self is the latents, under different names in different networks.
        _, (_, latents), *others = named.items()
        arguments = dict(others)
        return cls(latents=latents, timestep=arguments.pop("timestep"), arguments=arguments)


def tensors(arguments: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield path and tensor for all tensors in nested arguments."""
    if isinstance(arguments, Tensor):
        yield path, arguments
    for key, value in _items(arguments):
        yield from tensors(value, f"{path}.{key}" if path else key)


def replaced(arguments: Any, values: Mapping[str, Tensor], path: str = "") -> Any:
    """Return nested arguments in which the tensors at the paths of ``values`` are replaced."""
    if isinstance(arguments, dict):
        return {
            key: replaced(value, values, f"{path}.{key}" if path else key)
            for key, value in arguments.items()
        }
    if isinstance(arguments, tuple | list):
        return type(arguments)(
            replaced(value, values, f"{path}.{index}") for index, value in enumerate(arguments)
        )
    return values.get(path, arguments)


def batched_paths(one: Any, two: Any) -> frozenset[str]:
    """Return the paths of tensors that have a row for each prompt.

    ``one`` and ``two`` are the arguments for one prompt and for two. Rotary tables and position
    ids have the same shape in both, so they are not included.
    """
    doubled = dict(tensors(two))
    return frozenset(path for path, tensor in tensors(one) if tensor.shape != doubled[path].shape)


def _items(arguments: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(arguments, dict):
        yield from arguments.items()
    if isinstance(arguments, tuple | list):
        yield from ((str(index), value) for index, value in enumerate(arguments))


class RecordingScheduler:
    """Replacement for a pipeline's scheduler while its call is traced.

    After step j the call continues with ``visits[j + 1]``, or with unchanged latents if there are
    none. ``outputs`` has the prediction that the call passed to each step, after guidance.
    """

    order = 1
    init_noise_sigma = 1.0

    def __init__(
        self,
        scheduler: Any,
        *,
        timesteps: Sequence[float] | None = None,
        visits: Sequence[Tensor] = (),
    ) -> None:
        """Replace ``scheduler``, which is not modified. ``timesteps`` replace its timesteps."""
        self.inner = copy.deepcopy(scheduler)
        """Copy of the replaced scheduler, which sets the timesteps."""
        self._visits = visits
        self.outputs: list[Tensor] = []

        # Pipelines inspect the signature to see whether they may pass sigmas.
        @wraps(self.inner.set_timesteps)
        def set_timesteps(*args: Any, **options: Any) -> None:
            self.inner.set_timesteps(*args, **options)
            if timesteps is not None:
                before = self.inner.timesteps
                wanted = torch.tensor(timesteps, dtype=before.dtype, device=before.device)
                self.inner.timesteps = wanted
                self.inner.num_inference_steps = len(timesteps)

        self.set_timesteps = set_timesteps

    def __getattr__(self, name: str) -> Any:
        # Called for attributes that are not set above. A copy has no ``inner`` yet while it is
        # made, so looking it up there would recurse forever.
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """Return the latents unchanged. They are already in the scale of the training."""
        return sample

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, **options: Any
    ) -> tuple[Tensor]:
        """Record the prediction and return the next latents of ``visits``."""
        self.outputs.append(model_output)
        following = len(self.outputs)
        return (self._visits[following] if following < len(self._visits) else sample,)
