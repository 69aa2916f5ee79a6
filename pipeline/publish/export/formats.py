"""Table of all export formats, and the check of an export's options."""

import re
from collections.abc import Mapping, Sequence
from typing import get_args

from pipeline.core.errors import UserError
from pipeline.core.records import Split
from pipeline.publish.export.format import Format
from pipeline.publish.export.golden_noise_npz import GoldenNoiseNpz
from pipeline.publish.export.hugging_face import HuggingFace
from pipeline.publish.export.mds import Mds
from pipeline.publish.export.shard_files import Parquet, WebDataset
from pipeline.publish.export.spec import ExportSpec, FormatName, Licences
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.success import sealed_plan
from pipeline.storage.versions import choose_versions

FORMATS: Mapping[FormatName, type[Format]] = {
    "golden-noise-npz": GoldenNoiseNpz,
    "webdataset": WebDataset,
    "parquet": Parquet,
    "mds": Mds,
    "hf": HuggingFace,
}

SAMPLES_PER_FILE = 1000
"""Default number of pairs in a file: 262 MB of SDXL-sized pairs."""

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def specify_export(
    store: ObjectStore,
    format_name: str,
    splits: Sequence[str] = (),
    plan_id: str | None = None,
    *,
    version: int | None = None,
    samples_per_file: int = SAMPLES_PER_FILE,
    licences: Licences | None = None,
) -> ExportSpec:
    """Check the options of an export and return its specification.

    ``splits`` defaults to all splits that hold pairs, and ``version`` to the current one.
    ``plan_id`` may be omitted if only one plan is sealed. Raises ``UserError`` for an unknown
    format, split, plan or version, a split without pairs, and licences for a format without a card.
    """
    ((sealed, manifest),) = choose_versions(store, [sealed_plan(store, plan_id)], version)
    name = _format_named(format_name)
    if licences is not None and not FORMATS[name].has_card:
        with_card = ", ".join(each for each, made in FORMATS.items() if made.has_card)
        raise UserError(f"{name} has no card to write licences into; there is one in {with_card}")
    return ExportSpec(
        manifest=manifest,
        manifest_sha256=sealed.sha256,
        format=name,
        splits=_splits(manifest, splits),
        samples_per_file=samples_per_file,
        licences=_checked(licences or Licences()),
    )


def _format_named(name: str) -> FormatName:
    """Check the name of a format. Raises ``UserError`` for an unknown one."""
    for known in get_args(FormatName):
        if name == known:
            found: FormatName = known
            return found
    raise UserError(f"no format {name!r}; there are {', '.join(FORMATS)}")


def _splits(manifest: Manifest, names: Sequence[str]) -> tuple[Split, ...]:
    for name in names:
        if name not in list(Split):
            raise UserError(f"no split {name!r}; there are {', '.join(Split)}")
        if not manifest.num_samples(Split(name)):
            raise UserError(f"the split {name!r} of plan {manifest.plan_id} holds no pairs")
    # In the order of ``Split`` and not of the arguments, so that the same splits give the same
    # export.
    wanted = tuple(
        split
        for split in Split
        if manifest.num_samples(split) and (not names or split.value in names)
    )
    if not wanted:
        raise UserError(f"plan {manifest.plan_id} kept no pairs: there is nothing to export")
    return wanted


def _checked(licences: Licences) -> Licences:
    # They are written into Markdown as they are.
    for name in licences.model_dump().values():
        if not _LICENCE.fullmatch(name):
            raise UserError(
                f"{name!r} is no licence identifier of the Hugging Face hub; "
                "give one as cc-by-4.0, apache-2.0 or other"
            )
    return licences
