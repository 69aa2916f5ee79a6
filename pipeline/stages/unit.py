"""One unit, from candidates to packed pairs: every stage in the order of the data.

It knows nothing of Ray and of storage; a bare loop over it gives the same bytes as a cluster.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch

from pipeline.config import GateConfig, OutputConfig, SamplingConfig
from pipeline.diffusion.noise import noise_stats
from pipeline.diffusion.sample import sample_evaluations
from pipeline.models.denoiser import Denoiser, EncodedPrompts, Guidance
from pipeline.models.reward import Reward
from pipeline.npnet import NPNet
from pipeline.plan import Plan
from pipeline.records import Candidate, Outcome, Status
from pipeline.stages.judge import Scores, judge
from pipeline.stages.pack import pack_pairs
from pipeline.stages.propose import Proposal, Proposer, propose
from pipeline.stages.proposers import (
    ProposerSettings,
    make_proposer,
    proposal_evaluations,
    proposer_settings,
)
from pipeline.stages.sample import SampledImages, encode_images, sample_images
from pipeline.stages.select import Judged, Selection
from pipeline.storage.schema import NoisePair, PairSchema


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A plan's settings as the stages take them."""

    guidance: Guidance
    sampling: SamplingConfig
    proposer: ProposerSettings
    gate: GateConfig
    output: OutputConfig
    batch_size: int
    margins: Mapping[str, float]

    @classmethod
    def of(cls, plan: Plan) -> "Recipe":
        """The recipe of a plan."""
        settings = plan.settings
        return cls(
            # Plans of before there was a choice do not say.
            guidance=settings["model"].get("guidance", "classifier_free"),
            sampling=SamplingConfig(**settings["sampling"]),
            proposer=proposer_settings(settings),
            gate=GateConfig(**settings["gate"]),
            output=OutputConfig(**settings["output"]),
            batch_size=settings["units"]["batch_size"],
            margins=plan.margins,
        )

    def image_evaluations(self) -> int:
        """Forward evaluations for one image."""
        return sample_evaluations(
            self.sampling.num_inference_steps, self.sampling.guidance_scale, self.guidance
        )

    def evaluations(self) -> int:
        """Forward evaluations for one candidate, at most: two images and the proposal."""
        return 2 * self.image_evaluations() + proposal_evaluations(self.proposer, self.guidance)


@dataclass(frozen=True, kw_only=True)
class ProducedUnit:
    """What a unit came to."""

    outcomes: tuple[Outcome, ...]
    data: bytes
    """Arrow IPC file of the stored pairs, in the order of the outcomes."""
    forward_evaluations: int
    """Of one latent each, summed over the candidates."""


def produce_unit(
    candidates: Sequence[Candidate],
    denoiser: Denoiser,
    rewards: Mapping[str, Reward],
    recipe: Recipe,
    gaps: Mapping[int, str] | None = None,
    network: NPNet | None = None,
) -> ProducedUnit:
    """Compute one unit, always in the same batches.

    ``network`` is the noise prompt network of a plan that proposes with one.

    ``gaps`` are positions in ``candidates`` that are not computed, each with the reason for which
    its candidate has failed. A gap is padded, so that every batch keeps its shape and the other
    candidates their bytes. A batch of gaps alone is left out, unless the whole unit is gaps: then
    it tells whether anything but a candidate is at fault.
    """
    gaps = gaps or {}
    proposer = make_proposer(recipe.proposer, recipe.guidance, network)
    outcomes: list[Outcome] = []
    pairs: list[NoisePair] = []
    evaluations = 0
    with torch.inference_mode():
        encoded = _encode_once(denoiser, candidates, gaps)
        for rows in _batches(len(candidates), recipe.batch_size):
            reasons = {row - rows.start: gaps[row] for row in rows if row in gaps}
            if len(reasons) == len(rows) and len(gaps) < len(candidates):
                outcomes += [_failed(candidates[row], gaps[row], rewards) for row in rows]
                continue
            batch = _produce_batch(
                [candidates[row] for row in rows],
                encoded.take(rows),
                denoiser,
                rewards,
                proposer,
                recipe,
                reasons,
            )
            outcomes.extend(batch.outcomes)
            pairs.extend(batch.pairs)
            evaluations += batch.forward_evaluations
    schema = PairSchema(latent_shape=denoiser.latent_shape, reward_names=tuple(rewards))
    return ProducedUnit(
        outcomes=tuple(outcomes),
        data=pack_pairs(pairs, schema, recipe.output.rows_per_batch),
        forward_evaluations=evaluations,
    )


def _encode_once(
    denoiser: Denoiser, candidates: Sequence[Candidate], gaps: Mapping[int, str]
) -> EncodedPrompts:
    """Encode each distinct prompt once and lay the results out by candidate.

    The text encoder too sees the same number of prompts whatever the gaps: one that only gaps have
    is empty.
    """
    prompts = [candidate.prompt for candidate in candidates]
    distinct = list(dict.fromkeys(prompts))
    live = {prompt for position, prompt in enumerate(prompts) if position not in gaps}
    encoded = denoiser.encode_prompts([prompt if prompt in live else "" for prompt in distinct])
    row = {prompt: index for index, prompt in enumerate(distinct)}
    return encoded.take([row[prompt] for prompt in prompts])


def _batches(total: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, total)) for start in range(0, total, size))


@dataclass(frozen=True, kw_only=True)
class _Batch:
    outcomes: list[Outcome]
    pairs: list[NoisePair]
    forward_evaluations: int


def _produce_batch(
    candidates: Sequence[Candidate],
    encoded: EncodedPrompts,
    denoiser: Denoiser,
    rewards: Mapping[str, Reward],
    proposer: Proposer,
    recipe: Recipe,
    gaps: Mapping[int, str],
) -> _Batch:
    computed = [_padding(c) if row in gaps else c for row, c in enumerate(candidates)]
    prompts = [candidate.prompt for candidate in computed]
    proposal = propose(proposer, denoiser, encoded, computed)
    source = sample_images(denoiser, encoded, proposal.source_noise, recipe.sampling)
    golden = sample_images(denoiser, encoded, proposal.golden_noise, recipe.sampling)
    source_scores = judge(rewards, prompts, source)
    golden_scores = judge(rewards, prompts, golden)

    selection = Selection(
        margins=recipe.margins, gate=recipe.gate, num_values=prod(denoiser.latent_shape)
    )
    judged = [
        Judged(
            noise_stats=noise_stats(proposal.source_noise[row], proposal.golden_noise[row]),
            converged=proposal.converged[row],
            images_finite=source.finite[row] and golden.finite[row],
            source_rewards=_row(source_scores, row),
            golden_rewards=_row(golden_scores, row),
        )
        for row in range(len(candidates))
    ]
    decisions = [
        (Status.FAILED, gaps[row]) if row in gaps else selection.decide(one)
        for row, one in enumerate(judged)
    ]
    wanted = {Status.KEPT, Status.REJECTED} if recipe.output.store_rejected else {Status.KEPT}
    stored = [row for row, (status, _) in enumerate(decisions) if status in wanted]
    pairs = _pairs(candidates, proposal, judged, source, golden, stored, recipe.output)
    sizes = {row: pair.num_bytes for row, pair in zip(stored, pairs, strict=True)}
    outcomes = [
        _failed(candidate, gaps[row], rewards)
        if row in gaps
        else Outcome(
            candidate=candidate.index,
            sample_id=candidate.sample_id,
            prompt_id=candidate.prompt_id,
            split=candidate.split,
            seed=candidate.seed,
            status=status,
            reason=reason,
            truncated=encoded.truncated[row],
            source_rewards=dict(judged[row].source_rewards),
            golden_rewards=dict(judged[row].golden_rewards),
            noise_stats=judged[row].noise_stats,
            num_bytes=sizes.get(row, 0),
        )
        for row, (candidate, (status, reason)) in enumerate(zip(candidates, decisions, strict=True))
    ]
    return _Batch(
        outcomes=outcomes,
        pairs=pairs,
        forward_evaluations=proposal.forward_evaluations
        + 2 * len(candidates) * recipe.image_evaluations(),
    )


def _padding(candidate: Candidate) -> Candidate:
    """What is computed in a candidate's place: no text and a noise that says nothing."""
    return candidate.model_copy(update={"prompt": "", "seed": 0})


def _failed(candidate: Candidate, reason: str, rewards: Iterable[str]) -> Outcome:
    """The outcome of a candidate that was not computed."""
    return Outcome(
        candidate=candidate.index,
        sample_id=candidate.sample_id,
        prompt_id=candidate.prompt_id,
        split=candidate.split,
        seed=candidate.seed,
        status=Status.FAILED,
        reason=reason,
        truncated=False,
        source_rewards=dict.fromkeys(rewards),
        golden_rewards=dict.fromkeys(rewards),
        noise_stats=None,
        num_bytes=0,
    )


def _row(scores: Scores, row: int) -> dict[str, float | None]:
    return {name: column[row] for name, column in scores.items()}


def _pairs(
    candidates: Sequence[Candidate],
    proposal: Proposal,
    judged: Sequence[Judged],
    source: SampledImages,
    golden: SampledImages,
    stored: Sequence[int],
    output: OutputConfig,
) -> list[NoisePair]:
    """Some rows of a batch as they are stored."""
    source_images = _images(source, stored, output)
    golden_images = _images(golden, stored, output)
    pairs = []
    for position, row in enumerate(stored):
        stats = judged[row].noise_stats
        assert stats is not None, "a candidate without statistics has failed"
        pairs.append(
            NoisePair(
                sample_id=candidates[row].sample_id,
                prompt=candidates[row].prompt,
                prompt_id=candidates[row].prompt_id,
                seed=candidates[row].seed,
                source_noise=proposal.source_noise[row].numpy() if output.source_noise else None,
                golden_noise=proposal.golden_noise[row].numpy(),
                source_rewards=dict(judged[row].source_rewards),
                golden_rewards=dict(judged[row].golden_rewards),
                noise_stats=stats,
                source_image=source_images[position],
                golden_image=golden_images[position],
            )
        )
    return pairs


def _images(
    images: SampledImages, stored: Sequence[int], output: OutputConfig
) -> Sequence[bytes | None]:
    if output.images == "none":
        return [None] * len(stored)
    return encode_images(images.pixels, stored, output.images)
