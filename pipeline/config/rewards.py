"""Settings of the rewards: models that score images, and select pairs."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from pipeline.config.section import Name, Section, SourceConfig


class RewardSettings(Section):
    """Settings of a reward that are part of a plan."""

    name: Name
    """Name of the score in shards and ledger."""
    kind: Literal[
        "image_reward",
        "hps_v2",
        "pick_score",
        "clip_score",
        "aesthetic",
        "custom",
        "scene",
        "scene_oracle",
    ]
    """Kind of the reward. ``custom``: the class ``entry``. ``scene``: the demo's preference model.
    ``scene_oracle``: the demo's independent measurement."""
    entry: str | None = None
    """Class of kind custom, as module:Class."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of that class."""
    select: bool = True
    """True if the reward takes part in ``[selection]``. Otherwise its scores are only recorded.
    False by default for clip_score and aesthetic."""
    margin: float = 0.0
    """Amount by which golden must exceed source to win, in the unit of the reward."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the gain in sums: the rule ``weighted_sum``, and the best of several proposals."""


class RewardFiles(SourceConfig):
    """Location of the weights and the code of a reward."""

    code: str | None = None
    """Folder of the module of kind custom. Default: an installed module."""


class RewardConfig(RewardSettings, RewardFiles):
    """A model that scores images against prompts (docs/judges.md)."""

    @model_validator(mode="before")
    @classmethod
    def _reports_select_nothing(cls, values: Any) -> Any:
        """Record clip_score and aesthetic only, unless the user sets ``select``.

        They were not trained on human preferences.
        """
        if isinstance(values, dict) and values.get("kind") in ("clip_score", "aesthetic"):
            return {"select": False, **values}
        return values

    @model_validator(mode="after")
    def _roles(self) -> Self:
        if self.kind == "scene_oracle" and self.select:
            raise ValueError(
                "scene_oracle measures alignment independently and must not choose pairs; "
                "set select = false"
            )
        if self.kind not in ("scene_oracle", "custom"):
            self.require(f"kind {self.kind!r}")
        return self

    @model_validator(mode="after")
    def _own_class(self) -> Self:
        if self.kind == "custom" and self.entry is None:
            raise ValueError("kind 'custom' needs entry, its class as module:Class")
        if self.kind != "custom" and (self.entry or self.code or self.options):
            raise ValueError(f"entry, code and options are for kind 'custom', not {self.kind!r}")
        return self

    @property
    def files(self) -> str:
        """Return the places of the files, for messages."""
        parts = [str(self)] if self.has_place else []
        return " and ".join([*parts, self.entry] if self.entry else parts)
