"""Write a complete data set of synthetic pairs: plan, units, receipts and sealed files.

Everything is written by the functions of a build. Only what models would compute is made up: the
golden noise is the source noise rotated by a fixed angle, and scores are random.
"""

from dataclasses import dataclass
from functools import cache, partial
from math import prod, sqrt
from typing import Self

import numpy as np
import torch

from pipeline.config.plan import Plan, PlanSettings
from pipeline.core.fingerprint import ALGORITHM_VERSION, Fingerprint, fingerprint
from pipeline.core.identity import sha256
from pipeline.core.prompt_funnel import PromptFunnel
from pipeline.core.records import (
    SCHEMA_VERSION,
    Candidate,
    NoiseStats,
    Outcome,
    Split,
    Status,
)
from pipeline.diffusion.noise import source_noise, stored
from pipeline.publish.compact import compact_in
from pipeline.publish.seal import seal
from pipeline.storage import layout
from pipeline.storage.formats.arrow_shard import pack_pairs
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.manifest import Manifest
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import Receipt, commit_unit

SHAPE = (4, 64, 64)
"""Shape of one noise, as that of Stable Diffusion 1.5."""
REWARD = "image_reward"
_SEEDS_PER_PROMPT = 4
_UNIT_SIZE = 64
_KEPT = 0.6
"""About this share of the candidates is kept."""
_COSINE = 0.9


def write_complete_set(url: str, num_bytes: int) -> Manifest:
    """Write units whose kept pairs take about ``num_bytes``, and seal them."""
    store = open_store(url)
    pair_bytes = 2 * 2 * prod(SHAPE)
    made = SyntheticSet.of(int(num_bytes / pair_bytes / _KEPT) // _UNIT_SIZE, _UNIT_SIZE, SHAPE)
    write_plan(store, made.plan, made.prompts)
    for unit in range(made.plan.num_units):
        commit_unit(store, *made.unit(unit))
    return seal(store, made.plan, made.prompts, partial(map, partial(compact_in, store)))


@dataclass(frozen=True, kw_only=True)
class SyntheticSet:
    """A plan whose units are made up. Each unit depends on its number alone."""

    plan: Plan
    prompts: PromptTable
    shape: tuple[int, ...]
    """Shape of one noise."""

    @classmethod
    def of(cls, num_units: int, unit_size: int, shape: tuple[int, ...]) -> Self:
        """Return a set with this number of units. ``unit_size`` is a multiple of 4."""
        num_prompts = num_units * unit_size // _SEEDS_PER_PROMPT
        texts = [f"a fox, number {number:08d}" for number in range(num_prompts)]
        prompts = PromptTable.of(texts, {Split.TRAIN: 1.0, Split.VALIDATION: 0.0, Split.TEST: 0.0})
        return cls(plan=_plan(prompts, num_units, unit_size, shape), prompts=prompts, shape=shape)

    def unit(self, unit: int) -> tuple[Receipt, bytes]:
        """Return the receipt of a unit and its pairs."""
        generator = np.random.default_rng(unit)
        candidates = self.prompts.candidates(self.plan, self.plan.unit_range(unit))
        made = [_made(candidate, generator, self.shape) for candidate in candidates]
        schema = PairSchema.of_plan(self.plan, self.shape)
        data = pack_pairs([pair for _, pair in made if pair is not None], schema, 16)
        outcomes = tuple(outcome for outcome, _ in made)
        return _receipt(self.plan, unit, data, outcomes, self.shape), data


def _plan(prompts: PromptTable, num_units: int, unit_size: int, shape: tuple[int, ...]) -> Plan:
    settings = {
        "prompts": {"seeds_per_prompt": _SEEDS_PER_PROMPT, "seed": 0},
        "splits": {"train": 1.0, "validation": 0.0, "test": 0.0},
        "sampling": {"num_inference_steps": 1, "guidance_scale": 1.0},
        "gate": {},
        "units": {"size": unit_size},
        "model": {"name": "synthetic"},
        "rewards": [{"name": REWARD, "kind": "custom", "select": True}],
        "output": {"formats": ["arrow"], "rows_per_batch": 16},
        "synthetic": {"latent_shape": list(shape), "cosine": _COSINE},
    }
    plan = Plan(
        schema_version=SCHEMA_VERSION,
        algorithm_version=ALGORITHM_VERSION,
        plan_id="",
        settings=PlanSettings.read(settings),
        prompts_sha256=prompts.sha256(),
        num_prompts=prompts.table.num_rows,
        prompt_funnel=PromptFunnel(sources=()),
        num_candidates=num_units * unit_size,
        num_units=num_units,
    )
    return plan.model_copy(update={"plan_id": plan.identity()})


def _made(
    candidate: Candidate, generator: np.random.Generator, shape: tuple[int, ...]
) -> tuple[Outcome, NoisePair | None]:
    source, golden = generator.normal(0.0, 1.0), generator.normal(0.35, 1.0)
    source_rewards: dict[str, float | None] = {REWARD: float(source)}
    golden_rewards: dict[str, float | None] = {REWARD: float(golden)}
    stats = NoiseStats(
        cosine=_COSINE, relative_change=sqrt(2 - 2 * _COSINE), mean=0.0, std=1.0, kurtosis=0.0
    )
    pair = None
    if golden > source:
        noise = stored(source_noise(candidate.seed, shape))
        other = torch.from_numpy(generator.normal(0.0, 1.0, shape)).float()
        pair = NoisePair(
            sample_id=candidate.sample_id,
            prompt=candidate.prompt,
            prompt_id=candidate.prompt_id,
            seed=candidate.seed,
            source_noise=noise.numpy(),
            golden_noise=stored(_COSINE * noise.float() + sqrt(1 - _COSINE**2) * other).numpy(),
            noise_stats=stats,
            source_image=None,
            golden_image=None,
            source_rewards=source_rewards,
            golden_rewards=golden_rewards,
        )
    outcome = Outcome(
        candidate=candidate.index,
        sample_id=candidate.sample_id,
        prompt_id=candidate.prompt_id,
        split=candidate.split,
        seed=candidate.seed,
        status=Status.KEPT if pair else Status.REJECTED,
        reason=None if pair else f"reward:{REWARD}",
        truncated=False,
        noise_stats=stats,
        num_bytes=pair.num_bytes if pair else 0,
        proposal="redenoise",
        source_rewards=source_rewards,
        golden_rewards=golden_rewards,
    )
    return outcome, pair


@cache
def _software() -> Fingerprint:
    return fingerprint(torch.device("cpu"))


def _receipt(
    plan: Plan, unit: int, data: bytes, outcomes: tuple[Outcome, ...], shape: tuple[int, ...]
) -> Receipt:
    digest = sha256(data)
    return Receipt(
        schema_version=SCHEMA_VERSION,
        plan_id=plan.plan_id,
        unit=unit,
        data_key=layout.unit_key(plan.plan_id, unit, digest),
        data_sha256=digest,
        data_bytes=len(data),
        latent_shape=shape,
        outcomes=outcomes,
        forward_evaluations=len(outcomes),
        fingerprint=_software(),
        attempt_id="a",
        host="h",
        started="2026-01-01T00:00:00+00:00",
        compute_seconds=1.0,
    )
