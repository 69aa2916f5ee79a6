"""Plan of a build: all prompts and seeds, fixed before anything runs.

``plan_id`` is a digest of everything that affects the result: the text of the prompts, the seeds,
the digests of the model files and all settings except ``[cluster]``. It covers the contents of
files and not their paths. The same configuration therefore finds and resumes the same plan.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    TypeAdapter,
    model_validator,
)

from pipeline.config.model import LoraSettings, ModelSettings, VaeSettings, unset
from pipeline.config.proposers import (
    BestOfNProposer,
    CustomSettings,
    RedenoiseProposer,
    TrajectoryProposer,
    ZigzagProposer,
)
from pipeline.config.rewards import RewardSettings
from pipeline.config.section import Name, PositiveInt, Section, Seed
from pipeline.config.sections import (
    GateConfig,
    JudgingConfig,
    OutputConfig,
    SamplingConfig,
    SelectionConfig,
    SplitsConfig,
    UnitsConfig,
)
from pipeline.core.identity import canonical_json, is_sampled, sha256, short
from pipeline.core.prompt_funnel import PromptFunnel
from pipeline.core.records import NEWEST_SCHEMA_VERSION, Record, RuleName

# Dropped prompts do not affect the result, and an id cannot cover itself.
_NOT_DECIDING = {"plan_id", "prompt_funnel", "num_duplicates"}


class PlannedPrompts(Section):
    """Settings of ``[prompts]`` that are part of a plan.

    The digest of the chosen prompts replaces the others, which only describe their choice.
    """

    seeds_per_prompt: PositiveInt
    """Number of candidates per prompt."""
    seed: Seed
    """Root seed, from which the seeds of all candidates are derived."""


class PlannedLora(LoraSettings):
    """LoRA of a plan."""

    digest: str | None = None
    """Digest of its file; unset in a draft."""
    fused_by: str | None = None
    """Method that fuses it; unset in plans of older versions."""


class PlannedVae(VaeSettings):
    """Replaced decoder of a plan, identified by the contents of its files."""

    digest: str | None = None
    """Digest of its files; unset in a draft."""


class PlannedModel(ModelSettings):
    """Diffusion model of a plan, identified by the contents of its files."""

    loras: Annotated[tuple[PlannedLora, ...], Field(strict=False)] = ()
    """LoRAs, fused in this order."""
    vae: Annotated[PlannedVae | None, Field(exclude_if=unset)] = None
    """Replacement of the model's decoder."""
    digest: str | None = None
    """Digest of its files; unset in a draft."""
    steps_offset: bool | int | float | str | None = None
    """Offset of leading timesteps, if a proposer uses them and it is not 1."""


class PlannedReward(RewardSettings):
    """Reward of a plan, identified by the contents of its files."""

    digest: str | None = None
    """Digest of its weights and code; None for a kind without files."""


class PlannedJudging(JudgingConfig):
    """Judging policy of a plan."""

    of: Annotated[str | None, Field(exclude_if=lambda plan: plan is None)] = None
    """Plan of which more candidates are judged, with its golden noises. Set by ``npd judge``."""


class PlannedNetwork(Section):
    """Noise prompt network of a plan, identified by the contents of its files."""

    rounds: PositiveInt
    """Number of times the network is applied."""
    kind: Literal["npnet"]
    """Kind of the proposer."""
    name: Name
    """Name in receipts and ledger."""
    digest: str
    """Digest of its folder."""


class PlannedCustom(CustomSettings):
    """Custom proposer of a plan, identified by its code."""

    digest: str
    """Digest of its code."""
    proposals: int
    """Number of golden noises for one candidate."""
    evaluations: int
    """Maximum number of forward evaluations for one candidate, without its images."""


PlannedProposer = Annotated[
    RedenoiseProposer
    | TrajectoryProposer
    | ZigzagProposer
    | BestOfNProposer
    | PlannedNetwork
    | PlannedCustom,
    Field(discriminator="kind"),
]
_PROPOSER: TypeAdapter[PlannedProposer] = TypeAdapter(PlannedProposer)


class PlanSettings(Record):
    """Sections of the configuration that affect the result. Digests replace paths."""

    model_config = ConfigDict(extra="allow")

    prompts: PlannedPrompts
    splits: SplitsConfig
    sampling: SamplingConfig
    proposers: tuple[PlannedProposer, ...] = ()
    """Proposers of golden noise, in the order of the configuration."""
    rewards: tuple[PlannedReward, ...]
    selection: SelectionConfig = SelectionConfig()
    gate: GateConfig
    judging: PlannedJudging = PlannedJudging()
    """Candidates that are judged; all of them in plans before version 4."""
    units: UnitsConfig
    output: OutputConfig
    model: PlannedModel
    redenoise: dict[str, JsonValue] | None = None
    """The only proposer of a plan before version 3."""
    npnet: dict[str, JsonValue] | None = None
    """The only proposer of a plan before version 3."""

    @classmethod
    def read(cls, value: object) -> "PlanSettings":
        """Return stored settings with all of their keys, those of other versions included."""
        if isinstance(value, PlanSettings):
            return value
        return cls.model_validate(value, extra="allow")

    def stored(self) -> dict[str, Any]:
        """Return the settings as JSON.

        Only set keys are stored. A setting that is added later must not change the id of a plan
        that was made without it.
        """
        return self.model_dump(mode="json", exclude_unset=True)


class Plan(Record):
    """Description of everything that a build computes, stored as ``plan.json``."""

    schema_version: int
    algorithm_version: int
    plan_id: str
    settings: Annotated[
        PlanSettings, BeforeValidator(PlanSettings.read), PlainSerializer(PlanSettings.stored)
    ]
    """Settings that affect the result: everything except ``[cluster]`` and the places of files."""
    prompts_sha256: str
    """Digest of the distinct prompts in order."""
    num_prompts: int
    prompt_funnel: PromptFunnel = PromptFunnel(sources=())
    """Counts of the rows that were read, kept and dropped, by reason."""
    num_duplicates: int | None = None
    """Number of repeated prompts left out, in plans of version 2 only."""
    num_candidates: int
    num_units: int

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        """Reject a plan of a data set that was changed: commands loop over its units."""
        if self.num_candidates != self.num_prompts * self.seeds_per_prompt:
            raise ValueError(
                f"{self.num_candidates} candidates for {self.num_prompts} prompts with "
                f"{self.seeds_per_prompt} seeds"
            )
        if self.num_units != -(-self.num_candidates // self.unit_size):
            raise ValueError(f"{self.num_units} units for {self.num_candidates} candidates")
        if not self.margins:
            raise ValueError("no reward selects")
        if self.judges_all != (self.schema_version < NEWEST_SCHEMA_VERSION):
            raise ValueError(f"schema_version {self.schema_version} with this [judging]")
        return self

    def identity(self) -> str:
        """Return the id computed from the content. A plan with another ``plan_id`` is damaged."""
        return short(sha256(canonical_json(self.model_dump(mode="json", exclude=_NOT_DECIDING))))

    @property
    def root_seed(self) -> int:
        """Root seed, from which the seeds of all candidates are derived."""
        return self.settings.prompts.seed

    @property
    def seeds_per_prompt(self) -> int:
        """Number of candidates per prompt."""
        return self.settings.prompts.seeds_per_prompt

    @property
    def unit_size(self) -> int:
        """Number of candidates per unit. The last unit may hold fewer."""
        return self.settings.units.size

    @property
    def reward_names(self) -> list[str]:
        """Names of all rewards, in the order of the configuration."""
        return [reward.name for reward in self.settings.rewards]

    @property
    def proposers(self) -> tuple[PlannedProposer, ...]:
        """Proposers of golden noise.

        Plans before version 3 have one proposer, in the section named after its kind.
        """
        # Unknown keys are kept here as well: a section of an older version may have some.
        older = {"redenoise": self.settings.redenoise, "npnet": self.settings.npnet}
        return self.settings.proposers or tuple(
            _PROPOSER.validate_python({"kind": kind, "name": kind, **section}, extra="allow")
            for kind, section in older.items()
            if section is not None
        )

    @property
    def judges_all(self) -> bool:
        """True if every candidate is judged."""
        return self.settings.judging.policy == "all"

    def judges(self, sample_id: str) -> bool:
        """Return True if the candidate with this sample id is judged."""
        share = self.settings.judging.share
        return share is None or is_sampled(sample_id, share)

    @property
    def rule(self) -> RuleName:
        """Rule that combines the selecting rewards. Plans before version 3 always use ``all``."""
        return self.settings.selection.rule

    @property
    def weights(self) -> dict[str, float]:
        """Maps each selecting reward to the weight of its gain in a weighted sum."""
        return {reward.name: reward.weight for reward in self.settings.rewards if reward.select}

    @property
    def margins(self) -> dict[str, float]:
        """Maps each selecting reward to the gain that the golden image must exceed."""
        return {reward.name: reward.margin for reward in self.settings.rewards if reward.select}

    def largest_share(self, workers: int) -> int:
        """Return the number of candidates of the busiest worker. Workers do not share a unit."""
        rounds = -(-self.num_units // workers)
        # The last unit may hold fewer. It decides only if no other worker has a unit in its round.
        others = self.num_units - (rounds - 1) * workers - 1
        last = len(self.unit_range(self.num_units - 1)) if others == 0 else self.unit_size
        return (rounds - 1) * self.unit_size + last

    def unit_range(self, unit: int) -> range:
        """Return the positions of the candidates of a unit in the plan."""
        start = unit * self.unit_size
        return range(start, min(start + self.unit_size, self.num_candidates))
