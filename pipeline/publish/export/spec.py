"""Specification of an export: plan, version, splits, file size and licences."""

from dataclasses import dataclass
from typing import Literal

from pipeline.core.identity import readable_json
from pipeline.core.records import SCHEMA_VERSION, Record, Split
from pipeline.storage.formats.pairs import PairSchema
from pipeline.storage.manifest import Manifest

FormatName = Literal["golden-noise-npz", "webdataset", "parquet", "mds", "hf"]


class Licences(Record):
    """Licences for the card of a data set, as identifiers of the Hugging Face hub."""

    data: str = "unknown"
    model: str = "unknown"
    prompts: str = "unknown"


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """Specification of an export: everything that determines its bytes."""

    manifest: Manifest
    manifest_sha256: str
    format: FormatName
    splits: tuple[Split, ...]
    """Splits to export; each holds pairs."""
    samples_per_file: int
    licences: Licences

    @property
    def schema(self) -> PairSchema:
        """Schema of the pairs."""
        return PairSchema(
            latent_shape=tuple(self.manifest.latent_shape),
            reward_names=tuple(self.manifest.plan.reward_names),
            # Older versions have the columns of this one.
            schema_version=max(SCHEMA_VERSION, self.manifest.plan.schema_version),
        )

    @property
    def selecting(self) -> list[str]:
        """Names of the rewards that selected the pairs, in the plan's order."""
        names = self.manifest.plan.reward_names
        return [name for name in names if name in self.manifest.selection]

    def description(self) -> bytes:
        """Return the content of ``export.json``."""
        return readable_json(
            {
                "schema_version": SCHEMA_VERSION,
                "plan_id": self.manifest.plan_id,
                "version": self.manifest.version,
                "manifest_sha256": self.manifest_sha256,
                "format": self.format,
                "splits": {split.value: self.manifest.num_samples(split) for split in self.splits},
                "samples_per_file": self.samples_per_file,
                "licences": self.licences.model_dump(),
            }
        )
