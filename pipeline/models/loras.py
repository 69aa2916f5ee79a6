"""LoRAs: low-rank changes of a model's weights, fused into them when the model is loaded.

Fused, they cost nothing at a forward evaluation, and what computes is one network with one set of
weights. SDXL-Lightning and LCM come in this form.
"""

from pathlib import Path
from typing import Any

from pipeline.config.model import LoraConfig
from pipeline.errors import ModelError
from pipeline.models.source import locate


def fuse_loras(pipe: Any, loras: tuple[LoraConfig, ...]) -> None:
    """Add the weights of LoRAs to those of a pipeline's networks, in the pipeline's own type.

    Raises ``ModelError`` for one that is missing, or that changes nothing or not all it says:
    diffusers leaves keys that it does not know aside, and the model would be another one.
    """
    for lora in loras:
        file = _file(lora)
        try:
            pipe.load_lora_weights(
                str(file.parent),
                weight_name=file.name,
                adapter_name=_ADAPTER,
                local_files_only=True,
                use_safetensors=True,
            )
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise ModelError(
                f"{file}: cannot be loaded as a LoRA of {type(pipe).__name__}: {error}"
            ) from error
        networks = [name for name, adapters in pipe.get_list_adapters().items() if adapters]
        if not networks:
            raise ModelError(
                f"{file}: no weight of this LoRA has a place in {type(pipe).__name__}; "
                "it was made for another model"
            )
        pipe.fuse_lora(components=networks, lora_scale=lora.scale, adapter_names=[_ADAPTER])
        pipe.unload_lora_weights()


_ADAPTER = "fused"


def _file(lora: LoraConfig) -> Path:
    place = locate(lora)
    if place.is_file() and place.suffix == ".safetensors":
        return place
    if place.is_dir():
        found = sorted(place.glob("*.safetensors"))
        if len(found) == 1:
            return found[0]
        raise ModelError(
            f"{place}: {len(found)} .safetensors files here; set file in [[model.loras]] to one"
        )
    raise ModelError(f"{place}: a LoRA is a .safetensors file, not a pickle")
