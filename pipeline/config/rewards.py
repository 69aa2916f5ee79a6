"""The sections ``[[rewards]]``: which models judge, and which of them select."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from pipeline.config.section import Name
from pipeline.config.source import SourceConfig


class RewardConfig(SourceConfig):
    """A model that scores images against prompts (docs/judges.md)."""

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
    """``custom``: a class of your own; ``scene``: the demo's preference model; ``scene_oracle``:
    its measuring instrument."""
    entry: str | None = None
    """The class of kind custom, as module:Class."""
    code: str | None = None
    """Folder in which that module lies; by default it is among what is installed."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of that class."""
    select: bool = True
    """Whether it has a say in ``[selection]``; otherwise it is recorded only, as clip_score and
    aesthetic are by default."""
    margin: float = 0.0
    """By how much golden must exceed source to win, in the reward's own unit."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """What its gain counts where gains are added: the rule ``weighted_sum``, and the best of
    several proposals."""

    @model_validator(mode="before")
    @classmethod
    def _reports_select_nothing(cls, values: Any) -> Any:
        """Rewards that were not trained on what people prefer choose only if a person says so."""
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
        """Where a person looks for what it is made of."""
        parts = [str(self)] if self.has_place else []
        return " and ".join([*parts, self.entry] if self.entry else parts)
