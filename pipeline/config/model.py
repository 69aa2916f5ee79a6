"""The section ``[model]``: a diffusion model, where its files are, and how it computes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import GuidanceScale, PositiveInt, Section
from pipeline.config.source import SourceConfig

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
"""Those of diffusers that are installed; not the ones that fetch code from a hub."""


def _unset(value: object) -> bool:
    """Whether an option is left out of plans, which do not change with options that came later."""
    return value is None


class LoraConfig(SourceConfig):
    """Weights that are fused into the model's when it is loaded."""

    scale: Annotated[float, Field(ge=-10, le=10)] = 1.0
    """How much of them is added."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        self.require("a LoRA")
        return self


class SchedulerConfig(Section):
    """Another scheduler than the one that the model came with."""

    name: str | None = None
    """Its class in diffusers; by default the model's own."""
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """What it is told otherwise than the model's own configuration says."""


class ModelConfig(SourceConfig):
    """The diffusion model: a folder in diffusers' format, here or on the hub."""

    name: str
    """How the data set calls the model; for people."""
    config: str | None = None
    """For weights in a single file: a folder in diffusers' format that describes the rest."""
    variant: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] | None = None
    """Which of several files of the same weights is read, such as fp16; by default the plain."""
    loras: Annotated[tuple[LoraConfig, ...], Field(strict=False)] = ()
    """LoRAs, fused in this order; [[model.loras]]."""
    scheduler: SchedulerConfig | None = None
    """Another scheduler; [model.scheduler]."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of weights and activations; latents stay float32 between steps."""
    height: PositiveInt | None = None
    """Image height in pixels; by default the model's own."""
    width: PositiveInt | None = None
    """Image width in pixels; by default the model's own."""
    num_frames: PositiveInt | None = None
    """Frames of a film, for models that make films; the frame in its middle is judged."""
    guidance: Literal["classifier_free", "embedded"] = "classifier_free"
    """By a second prediction without the prompt, or by telling the network its scale (distilled
    models such as FLUX.1-dev)."""
    embedded_guidance: GuidanceScale | None = None
    """The scale that a distilled network is told while it is guided classifier-free."""
    negative_prompt: Annotated[str | None, Field(exclude_if=_unset)] = None
    """Text of the prediction without the prompt, in sampling and in re-denoising; by default the
    pipeline's own: no text, or zeros for SDXL."""
    max_sequence_length: Annotated[PositiveInt | None, Field(exclude_if=_unset)] = None
    """Tokens that T5 reads; by default the pipeline's own number."""
    clip_skip: Annotated[PositiveInt | None, Field(exclude_if=_unset)] = None
    """Last layers of CLIP that are left out."""
    compile: bool = False
    """Compile the network (torch.compile): faster after minutes of compiling, other rounding."""
    channels_last: bool = False
    """Convolutions in channels-last memory: often faster in 16 bits, other rounding."""
    attention_backend: AttentionBackend | None = None
    """Kernels of the network's attention; by default those that torch chooses."""
    vae_slicing: bool = False
    """Decode one image at a time: less memory, other rounding."""
    vae_tiling: bool = False
    """Decode in tiles: large images in little memory, and with slight seams."""

    @model_validator(mode="after")
    def _guided_once(self) -> Self:
        if self.guidance == "embedded" and self.embedded_guidance is not None:
            raise ValueError(
                "embedded_guidance is for guidance = 'classifier_free'; with 'embedded' the scales "
                "of [sampling] and [redenoise] are what the network is told"
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
