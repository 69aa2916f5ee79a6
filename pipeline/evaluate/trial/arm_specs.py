"""Which arms a trial has, and what each is compared with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

from pipeline.config.sections import SamplingConfig
from pipeline.diffusion.denoiser import Guidance
from pipeline.diffusion.guidance import forward_evaluations
from pipeline.diffusion.sample import sample_evaluations
from pipeline.evaluate.trial.arms import (
    Arm,
    BestOf,
    JudgedByWrongPrompt,
    Plain,
    Proposed,
    RandomPerturbation,
    Resampled,
)

STANDARD, GOLDEN, SECOND_SEED = "standard noise", "golden noise", "second seed"
WRONG_PROMPT, RANDOM = "wrong prompt", "random perturbation"
STANDARD_FOR_WRONG_PROMPT = f"{STANDARD}, judged by the {WRONG_PROMPT}"

NETWORK_EVALUATIONS = 1
"""What a network's proposal counts as."""

MOST_SEEDS = 4
"""Best-of-n is drawn for no more: exact inversion may cost as much as a hundred seeds."""


@dataclass(frozen=True, kw_only=True)
class ArmSpec:
    """An arm with its place in the trial."""

    name: str
    arm: Arm
    against: str | None = STANDARD
    """The arm that it is compared with; None for the standard noise itself, and for a seed that is
    only drawn so that others can choose from it."""
    about: str
    """What it is, in words."""
    limit: int | None = None
    """Only so many samples, where the whole trial would cost more than the answer is worth."""
    keep_images: bool = False
    """Whether images and noises are kept, to be shown."""
    is_network: bool = False
    """Whether it is the claim of a network: compared with all arms, not with its own alone."""
    control: bool = False
    """Whether it is there to explain a gain, not to be taken in the place of standard noise."""

    @property
    def has_own_images(self) -> bool:
        """Whether it made its images, and did not only look at those of another arm."""
        return not isinstance(self.arm, JudgedByWrongPrompt)

    def may_replace(self, network: "ArmSpec") -> bool:
        """Whether a person may take this arm in the place of a network's noise."""
        return self.against == STANDARD and self.name != network.name and not self.control

    def described(self) -> dict[str, Any]:
        """All that decides what it draws and what is kept of it, as JSON."""
        return {
            "name": self.name,
            "kind": type(self.arm).__name__,
            "settings": {
                name: value.model_dump() if isinstance(value, SamplingConfig) else value
                for name, value in vars(self.arm).items()
            },
            "against": self.against,
            "limit": self.limit,
            "keep_images": self.keep_images,
        }


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person can choose about the arms."""

    model_guidance: Guidance
    """How the model is guided: decides what a guided image costs."""
    sampling: SamplingConfig
    golden_evaluations: int
    """Of one golden noise, at most."""
    networks: tuple[str, ...]
    guidance: tuple[float, ...]
    """Scales at which standard and proposed noise are compared too: where it may not help."""
    plain_guidance: tuple[float, ...]
    """Scales at which standard noise competes, at equal and at more evaluations."""
    limit_guidance: int | None
    limit_controls: int | None


def build_arms(options: Options) -> list[ArmSpec]:
    """Every arm after those that it builds on."""
    return [
        ArmSpec(
            name=STANDARD,
            arm=Plain(),
            against=None,
            about="random noise of the seed",
            keep_images=True,
        ),
        ArmSpec(
            name=GOLDEN,
            arm=Proposed(proposer=GOLDEN),
            about="re-denoised, as the data set's pairs are",
            keep_images=True,
        ),
        *(
            ArmSpec(
                name=name,
                arm=Proposed(proposer=name),
                about="the network's noise",
                keep_images=True,
                is_network=True,
            )
            for name in options.networks
        ),
        *_seeds(options),
        *_controls(options),
        *_guidance(options),
    ]


def seeds_needed(entries: Sequence[ArmSpec]) -> int:
    """Seeds that each sample needs beside its own."""
    indices = [getattr(entry.arm, "seed_index", 0) for entry in entries]
    return max(indices, default=0)


def _subject(options: Options) -> str:
    """The arm that the controls are controls of: the first network, or golden noise."""
    return options.networks[0] if options.networks else GOLDEN


def _image_evaluations(options: Options) -> int:
    sampling = options.sampling
    return sample_evaluations(
        sampling.num_inference_steps, sampling.guidance_scale, options.model_guidance
    )


def _seeds(options: Options) -> Iterator[ArmSpec]:
    """Random seeds, and as many of them as other arms' evaluations could buy."""
    image = _image_evaluations(options)
    fair = {GOLDEN: min(ceil((options.golden_evaluations + image) / image), MOST_SEEDS)}
    if options.networks:
        fair[" and ".join(options.networks)] = ceil((NETWORK_EVALUATIONS + image) / image)
    yield ArmSpec(name=SECOND_SEED, arm=Plain(seed_index=1), about="another random noise")
    for index in range(2, max(fair.values())):
        yield ArmSpec(
            name=_nth_seed(index),
            arm=Plain(seed_index=index),
            against=None,
            about="another random noise, to choose from",
            limit=options.limit_guidance,
        )
    for number in sorted(set(fair.values())):
        rivals = " and ".join(name for name, count in fair.items() if count == number)
        yield ArmSpec(
            name=f"best of {number} seeds",
            arm=BestOf(arms=(STANDARD, *map(_nth_seed, range(1, number)))),
            about=f"chosen by the selecting reward; for the evaluations of {rivals}, or more",
            limit=options.limit_guidance if number > 2 else None,
        )


def _nth_seed(index: int) -> str:
    return SECOND_SEED if index == 1 else f"seed {index + 1}"


def _controls(options: Options) -> Iterator[ArmSpec]:
    subject, limit = _subject(options), options.limit_controls
    yield ArmSpec(
        name=f"{subject}, twice",
        arm=Proposed(proposer=subject, onto=subject),
        about="applied to its own result",
        limit=limit,
    )
    control = partial(ArmSpec, control=True, limit=limit)
    misled = f"{WRONG_PROMPT}: {subject}"
    yield control(
        name=misled,
        arm=Proposed(proposer=subject, for_wrong_prompt=True),
        about="noise made for another prompt",
    )
    yield control(
        name=STANDARD_FOR_WRONG_PROMPT,
        arm=JudgedByWrongPrompt(images_of=STANDARD),
        against=None,
        about="do its images show the other prompt by chance?",
    )
    yield control(
        name=f"{misled}, judged by it",
        arm=JudgedByWrongPrompt(images_of=misled),
        against=STANDARD_FOR_WRONG_PROMPT,
        about="do its images show the prompt that the noise was made for?",
    )
    yield control(
        name=f"{RANDOM}: {subject}",
        arm=RandomPerturbation(like=subject, seed_index=max(_seed_indices(options)) + 1),
        about="as far from the source noise, in a random direction",
    )


def _seed_indices(options: Options) -> list[int]:
    return [entry.arm.seed_index for entry in _seeds(options) if isinstance(entry.arm, Plain)]


def _guidance(options: Options) -> Iterator[ArmSpec]:
    """Plain guidance in the place of other noise, and other noise on top of guidance."""
    steps, image = options.sampling.num_inference_steps, _image_evaluations(options)
    standard = options.sampling.guidance_scale
    for scale in sorted({*options.plain_guidance} - {standard}):
        fewer = max(1, image // forward_evaluations(scale, options.model_guidance))
        if fewer == steps:
            continue  # guided images cost no more than the standard one: the arms below
        yield ArmSpec(
            name=_guided(scale, fewer),
            arm=Plain(sampling=_sampling(options, scale, fewer)),
            about="plain guidance, random noise, at the evaluations of the standard image",
            limit=options.limit_controls,
        )
    for scale in sorted({*options.plain_guidance, *options.guidance} - {standard}):
        yield ArmSpec(
            name=_guided(scale, steps),
            arm=Plain(sampling=_sampling(options, scale, steps)),
            about="plain guidance, random noise, at all steps",
            limit=options.limit_guidance,
        )
    for scale in sorted({*options.guidance} - {standard}):
        for name in options.networks or (GOLDEN,):
            yield ArmSpec(
                name=f"{name} at {_guided(scale, steps)}",
                arm=Resampled(noise_of=name, sampling=_sampling(options, scale, steps)),
                against=_guided(scale, steps),
                about="does it help on top of guidance?",
                limit=options.limit_guidance,
            )


def _guided(scale: float, steps: int) -> str:
    return f"guidance {scale:g}, {steps} steps"


def _sampling(options: Options, scale: float, steps: int) -> SamplingConfig:
    """The trial's sampling, but for guidance and steps."""
    return options.sampling.model_copy(
        update={"num_inference_steps": steps, "guidance_scale": scale}
    )
