"""One unit of the demo's prompts, and the pairs that are stored in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.records import Candidate
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.unit import ProducedUnit
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from pipeline.workflows.plan import make_plan
from tests.sealed import SETTINGS, changed, demo_prompts, write_config

SCHEMA = PairSchema(latent_shape=(4, 8, 8), reward_names=("scene", "oracle"))

KEEP_ALL = changed(
    rewards=[{**SETTINGS["rewards"][0], "margin": -1e6}, SETTINGS["rewards"][1]],
    gate={"max_norm_deviation": 1e6, "max_kurtosis_deviation": 1e6},
    units={"size": 6, "batch_size": 4},
)


class Kept(NamedTuple):
    """A unit whose candidates are all kept: its spec, its candidates and its result."""

    spec: BuildSpec
    candidates: list[Candidate]
    produced: ProducedUnit


def make_unit(
    folder: Path, settings: dict[str, Any] = KEEP_ALL, prompts: list[str] | None = None
) -> tuple[BuildSpec, list[Candidate]]:
    """Return the spec and the candidates of a plan's first unit."""
    config = write_config(folder, settings, prompts=prompts or demo_prompts(3))
    plan, table = make_plan(config)
    return BuildSpec.of(plan), list(table.candidates(plan, plan.unit_range(0)))


def stored_pairs(produced: ProducedUnit) -> list[NoisePair]:
    """The pairs in a unit's data, in its order."""
    file = pa.ipc.open_file(pa.BufferReader(produced.data))
    schema = PairSchema.of(file.schema)
    batches = [file.get_batch(index) for index in range(file.num_record_batches)]
    return [pair for batch in batches for pair in schema.to_pairs(batch)]


def source_noises(pairs: Sequence[NoisePair]) -> list[NDArray[np.float16]]:
    """The source noises of pairs, which must all be stored."""
    noises = [pair.source_noise for pair in pairs if pair.source_noise is not None]
    assert len(noises) == len(pairs)
    return noises
