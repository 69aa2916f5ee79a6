"""Loading a pipeline from a single file in the layout of the model's authors.

diffusers renames and splits tensors while it loads. It ignores unknown names, and leaves missing
weights uninitialised. Both are errors here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders import single_file_utils
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipeline.core.errors import ModelError
from pipeline.core.weight_files import check_weights
from pipeline.models.diffusers.components import (
    check_declared,
    component_class,
    has_weights,
    load_component,
    refuse_unfilled,
    some,
)
from pipeline.models.diffusers.model_index import ModelIndex
from pipeline.models.diffusers.untrusted_folder import weights_in

_SAMPLED = 64
"""Number of leading values of a row by which a tensor is recognised."""

_NO_WEIGHTS = (
    # Running average of the weights. diffusers does not use it either.
    "model_ema.",
    # Tables of the training schedule. They are computed from the scheduler's configuration.
    "alphas_cumprod",
    "betas",
    "denoiser.sigmas",
    "log_one_minus_alphas_cumprod",
    "logvar",
    "lvlb_weights",
    "posterior_",
    "scale_factor",
    "sqrt_",
    # Markers of how the model was trained. ``declarations`` reads them.
    "edm_vpred.sigma_",
    "v_pred",
    "ztsnr",
    # Parameters that only CLIP's training needs, not the encoding of a prompt.
    "cond_stage_model.logit_scale",
    "cond_stage_model.model.logit_scale",
    "cond_stage_model.model.text_projection",
    "cond_stage_model.transformer.text_projection",
    "conditioner.embedders.0.logit_scale",
    "conditioner.embedders.0.model.logit_scale",
    "conditioner.embedders.1.model.logit_scale",
    "text_encoders.clip_g.logit_scale",
    "text_encoders.clip_l.logit_scale",
    "text_encoders.t5xxl.logit_scale",
    # SD 2 uses the output of the last but one layer, so its configuration has one layer less.
    "cond_stage_model.model.transformer.resblocks.23.",
    # diffusers uses the identity instead, as the authors' code does.
    "text_encoders.clip_l.transformer.text_projection.weight",
)
"""Prefixes of tensor names that a file may have without being used."""

_BUFFERS = ("position_ids", "attn_mask")
"""Suffixes of such names: buffers that older libraries stored."""


def load_single_file(
    checkpoint: Path, index: ModelIndex, dtype: torch.dtype, options: Mapping[str, Any]
) -> Any:
    """Read a pipeline from a checkpoint.

    The folder of ``index`` has the configuration of its components. A text encoder that is not in
    the checkpoint is read from the folder. Raises ``ModelError`` for missing weights and for
    tensors that are not part of the pipeline.
    """
    name = index.family.pipeline
    pipeline: Any = getattr(diffusers, name)
    if not hasattr(pipeline, "from_single_file"):
        raise ModelError(
            f"{checkpoint}: diffusers cannot read a {name} from a single file; use a folder in "
            "diffusers' format"
        )
    beside = _encoders_beside(checkpoint, index, dtype)
    pipe = pipeline.from_single_file(
        str(checkpoint), config=str(index.folder), dtype=dtype, **options, **beside
    )
    read = {
        part: module
        for part, module in pipe.components.items()
        if isinstance(module, nn.Module) and part not in beside
    }
    # Both directions: no weight of the pipeline without a value, no tensor of the file without use.
    for module in read.values():
        refuse_unfilled(module, checkpoint)
    _refuse_unused(checkpoint, read)
    return pipe


def _encoders_beside(
    checkpoint: Path, index: ModelIndex, dtype: torch.dtype
) -> dict[str, nn.Module]:
    """Load the text encoders that are not in the checkpoint from the folder.

    Raises ``ModelError`` if the folder declares larger components than the checkpoint holds.
    """
    held = check_weights(checkpoint)
    # diffusers would load them itself, but without a report of missing and unknown weights.
    with safe_open(checkpoint, framework="pt") as file:
        names = file.keys()
        shapes = {name: file.get_slice(name).get_shape() for name in names}
    # diffusers decides by names and shapes, so tensors without memory are enough.
    decides: Any = single_file_utils  # carries no types
    header = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    beside = {}
    folder = index.folder
    for name, (library, kind) in index.classes.items():
        found = component_class(folder, name, library, kind)
        if not has_weights(found):
            continue
        if (
            not issubclass(found, PreTrainedModel)
            or decides.is_clip_model_in_single_file(found, header)
            or decides.is_t5_in_single_file(header)
        ):
            check_declared(found, folder / name, held)
            continue
        if not any((folder / name).glob("*.safetensors")):
            raise ModelError(
                f"{checkpoint}: has no weights of {name} ({kind}), and {folder / name} has no "
                ".safetensors files either; put its weights there"
            )
        files = (folder / name).glob("*.safetensors")
        check_declared(found, folder / name, weights_in(folder / name, files))
        beside[name] = load_component(found, folder / name, dtype, None)
    return beside


def _refuse_unused(checkpoint: Path, modules: Mapping[str, nn.Module]) -> None:
    """Raise ``ModelError`` for a tensor of the file that is in none of the modules."""
    # Tensors are renamed, and some are split, transposed or reordered. So they are recognised by
    # their first values.
    known = {sample for module in modules.values() for sample in _beginnings(module)}
    # Values are compared bit by bit, so those of the file are first cast as loading cast them.
    dtypes = {tensor.dtype for module in modules.values() for tensor in module.parameters()}
    unused = []
    with safe_open(checkpoint, framework="pt") as file:
        names = file.keys()
        for name in names:
            if name.startswith(_NO_WEIGHTS) or name.endswith(_BUFFERS):
                continue
            row = _first_row(file.get_slice(name))
            if not any(_sample(row, dtype) in known for dtype in dtypes):
                unused.append(name)
    if unused:
        raise ModelError(
            f"{checkpoint}: {some(unused)} are not weights of this pipeline; config in [model] may "
            "name the folder of another model"
        )


def _beginnings(module: nn.Module) -> Iterator[bytes]:
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            yield _sample(_rows(tensor, 0), tensor.dtype)
            # A tensor of the file may begin in the middle of ours (halves that were swapped), or
            # along its first column (a matrix that was transposed).
            if tensor.ndim:
                yield _sample(_rows(tensor, len(tensor) // 2), tensor.dtype)
            if tensor.ndim == 2:
                yield _sample(tensor[:, 0], tensor.dtype)


def _rows(tensor: Tensor, start: int) -> Tensor:
    if tensor.ndim < 2:
        return tensor.reshape(-1)[start:]
    return tensor[start].reshape(-1)


def _first_row(tensor: Any) -> Tensor:
    shape = tensor.get_shape()
    if not shape:
        row: Tensor = tensor[...]
    else:
        row = tensor[: _SAMPLED if len(shape) == 1 else 1]
    return row.reshape(-1)


def _sample(row: Tensor, dtype: torch.dtype) -> bytes:
    return row[:_SAMPLED].to(dtype).float().cpu().numpy().tobytes()
