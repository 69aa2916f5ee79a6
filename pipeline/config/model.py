"""The section ``[model]``: the diffusion model, the place of its files, and its settings."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import GuidanceScale, PositiveInt, Section, SourceConfig, Word

AttentionBackend = Literal[
    "native",
    "_native_cudnn",
    "_native_efficient",
    "_native_flash",
    "_native_math",
    "flex",
    "flash",
    "sage",
    "xformers",
]
"""Attention backends of diffusers that use installed code; none fetches code from a hub."""


Guidance = Literal["classifier_free", "embedded"]
"""Kind of guidance: with a second prediction without the prompt, or with the scale as an input."""


def unset(value: object) -> bool:
    """Return True if an option is unset, so that it is left out of plans.

    Options that were added later must not change the identity of plans that do not use them.
    """
    return value is None


class LoraSettings(Section):
    """Settings of LoRA weights that are part of a plan."""

    scale: Annotated[float, Field(ge=-10, le=10)] = 1.0
    """Factor that the LoRA weights are multiplied with before they are added."""


class LoraConfig(LoraSettings, SourceConfig):
    """LoRA weights that are fused into the model when it is loaded."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        self.require("a LoRA")
        return self


class SchedulerConfig(Section):
    """A scheduler that replaces the one in the model's files."""

    name: str | None = None
    """Class of the scheduler in diffusers; by default the class in the model's files."""
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Maps scheduler options to values that override the configuration in the model's files."""


class VaeSettings(Section):
    """Settings of a replaced decoder that are part of a plan. Its digest identifies it."""


class VaeConfig(VaeSettings, SourceConfig):
    """A decoder that replaces the one in the model's files: a folder with its config.json."""

    variant: Word | None = None
    """Variant of its weight file, such as fp16; by default the file without a variant."""

    @model_validator(mode="after")
    def _folder(self) -> Self:
        self.require("[model.vae]")
        if self.file is not None:
            raise ValueError(
                "[model.vae] needs a folder or repository in diffusers' format; remove file"
            )
        return self


class ModelFiles(SourceConfig):
    """Location of the files of a diffusion model."""

    config: str | None = None
    """Folder in diffusers' format with the configurations for weights in a single file."""
    variant: Word | None = None
    """Variant of the weight files, such as fp16; by default the files without a variant."""


class ModelSettings(Section):
    """Settings of a diffusion model that are part of a plan."""

    name: str
    """Name of the model in the data set; for display only."""
    loras: Annotated[tuple[LoraSettings, ...], Field(strict=False)] = ()
    """LoRAs, fused in this order: [[model.loras]]."""
    scheduler: SchedulerConfig | None = None
    """Replacement of the model's scheduler: [model.scheduler]."""
    vae: Annotated[VaeSettings | None, Field(exclude_if=unset)] = None
    """Replacement of the model's decoder: [model.vae]."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of weights and activations; latents stay float32 between steps."""
    height: PositiveInt | None = None
    """Image height in pixels; by default the height that the model was made for."""
    width: PositiveInt | None = None
    """Image width in pixels; by default the width that the model was made for."""
    num_frames: PositiveInt | None = None
    """Number of frames, for video models; rewards score the middle frame."""
    guidance: Guidance = "classifier_free"
    """Kind of guidance. "classifier_free" adds a prediction without the prompt; "embedded" passes
    the scale to the network as an input (distilled models such as FLUX.1-dev)."""
    embedded_guidance: GuidanceScale | None = None
    """Guidance scale that a distilled network receives while classifier-free guidance is used."""
    negative_prompt: Annotated[str | None, Field(exclude_if=unset)] = None
    """Prompt of the unconditional prediction, in sampling and in re-denoising; by default that of
    the pipeline: empty text, or zeros for SDXL."""
    max_sequence_length: Annotated[PositiveInt | None, Field(exclude_if=unset)] = None
    """Maximum number of tokens for T5; by default the pipeline's number."""
    clip_skip: Annotated[PositiveInt | None, Field(exclude_if=unset)] = None
    """Number of last CLIP layers to skip."""
    compile: bool | Literal["blocks"] = False
    """Use torch.compile for the network: faster after minutes of compiling; rounding differs.
    "blocks" compiles the kinds of blocks that repeat, each once, which takes less time."""
    channels_last: bool = False
    """Use channels-last memory for convolutions: often faster in 16 bits; rounding differs."""
    attention_backend: AttentionBackend | None = None
    """Attention kernels of the network; by default torch chooses them."""
    vae_slicing: bool = False
    """Decode one image at a time: less memory; rounding differs."""
    vae_tiling: bool = False
    """Decode in tiles: large images need less memory, but tiles can leave slight seams."""


class ModelConfig(ModelSettings, ModelFiles):
    """The diffusion model: a folder in diffusers' format, on this machine or on the hub."""

    loras: Annotated[tuple[LoraConfig, ...], Field(strict=False)] = ()
    """LoRAs, fused in this order: [[model.loras]]."""
    vae: VaeConfig | None = None
    """Replacement of the model's decoder: [model.vae]."""

    @model_validator(mode="after")
    def _guided_once(self) -> Self:
        if self.guidance == "embedded" and self.embedded_guidance is not None:
            raise ValueError(
                "embedded_guidance is for guidance = 'classifier_free'; with 'embedded' the "
                "network receives the scales of [sampling] and [redenoise]"
            )
        if self.guidance == "embedded" and self.negative_prompt is not None:
            raise ValueError(
                "negative_prompt is for guidance = 'classifier_free'; with 'embedded' there is no "
                "prediction without the prompt"
            )
        return self

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        self.require("the model")
        return self
