"""Specifications of a trial's arms, and the arm that each is compared with."""

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
BEST_OF = "best of"
STANDARD_FOR_WRONG_PROMPT = f"{STANDARD}, judged by the {WRONG_PROMPT}"

NETWORK_EVALUATIONS = 1
"""Number of forward evaluations that a network's proposal counts as."""

MOST_SEEDS = 4
"""Maximum n of best-of-n for golden noise. Exact inversion may cost as much as a hundred seeds."""


@dataclass(frozen=True, kw_only=True)
class ArmSpec:
    """Arm with its name, its comparison and its limits."""

    name: str
    arm: Arm
    against: str | None = STANDARD
    """Name of the arm that it is compared with. None for standard noise, and for seeds that are
    drawn only for best-of-n."""
    about: str
    """Description for reports."""
    limit: int | None = None
    """Maximum number of samples, for comparisons that are too expensive on all; None for all."""
    keep_images: bool = False
    """True if images and noises are stored, so that reports can show them."""
    is_network: bool = False
    """True if it is the noise of a network. A network is compared with every alternative too."""
    control: bool = False
    """True if it explains a gain and is no alternative to standard noise."""

    @property
    def has_own_images(self) -> bool:
        """True if the arm samples images; False if it judges those of another arm."""
        return not isinstance(self.arm, JudgedByWrongPrompt)

    def may_replace(self, network: "ArmSpec") -> bool:
        """Return True if this arm is an alternative to a network's noise."""
        return self.against == STANDARD and self.name != network.name and not self.control

    def described(self) -> dict[str, Any]:
        """Return everything that decides the arm's stored results, as JSON."""
        # The names of chunks are digests of this, so arms and their fields must not be renamed:
        # finished trials would be computed again.
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
class ArmOptions:
    """Settings that decide a trial's arms."""

    model_guidance: Guidance
    """Guidance method of the model; it decides the cost of a guided image."""
    sampling: SamplingConfig
    """Sampling settings of the standard images."""
    golden_evaluations: int
    """Maximum number of forward evaluations of one golden noise."""
    networks: tuple[str, ...]
    """Names of the networks."""
    guidance: tuple[float, ...]
    """Guidance scales at which proposed noise is also compared with standard noise."""
    plain_guidance: tuple[float, ...]
    """Guidance scales of standard noise: at the cost of a standard image, and at all steps."""
    limit_guidance: int | None
    """Maximum number of samples of the arms with more evaluations; None for all."""
    limit_controls: int | None
    """Maximum number of samples of the controls; None for all."""


def build_arms(options: ArmOptions) -> list[ArmSpec]:
    """Return all arms of a trial. Each follows the arms that it uses."""
    return [
        ArmSpec(
            name=STANDARD,
            arm=Plain(),
            against=None,
            about="random noise from the seed",
            keep_images=True,
        ),
        ArmSpec(
            name=GOLDEN,
            arm=Proposed(proposer=GOLDEN),
            about="re-denoised noise, made like the pairs of the data set",
            keep_images=True,
        ),
        *(
            ArmSpec(
                name=name,
                arm=Proposed(proposer=name),
                about="noise from the network",
                keep_images=True,
                is_network=True,
            )
            for name in options.networks
        ),
        *_seeds(options),
        *_controls(options),
        *_guidance(options),
    ]


def seeds_needed(specs: Sequence[ArmSpec]) -> int:
    """Return the number of extra seeds per sample that the arms need."""
    # Arms without this field use only the seed of the source noise.
    indices = [getattr(spec.arm, "seed_index", 0) for spec in specs]
    return max(indices, default=0)


def _subject(options: ArmOptions) -> str:
    """Return the arm that the controls examine: the first network, or golden noise."""
    return options.networks[0] if options.networks else GOLDEN


def _image_evaluations(options: ArmOptions) -> int:
    sampling = options.sampling
    return sample_evaluations(
        sampling.num_inference_steps, sampling.guidance_scale, options.model_guidance
    )


def _seeds(options: ArmOptions) -> Iterator[ArmSpec]:
    """Yield other seeds, and best-of-n at no less than the cost of golden noise and networks."""
    image = _image_evaluations(options)
    # n is rounded up, so the competing arm has at most the evaluations of the n seeds.
    fair = {GOLDEN: min(ceil((options.golden_evaluations + image) / image), MOST_SEEDS)}
    if options.networks:
        fair[" and ".join(options.networks)] = ceil((NETWORK_EVALUATIONS + image) / image)
    yield ArmSpec(name=SECOND_SEED, arm=Plain(seed_index=1), about="random noise from another seed")
    for index in range(2, max(fair.values())):
        yield ArmSpec(
            name=_nth_seed(index),
            arm=Plain(seed_index=index),
            against=None,
            about="another random noise, for the best of several seeds",
            limit=options.limit_guidance,
        )
    for number in sorted(set(fair.values())):
        names = " and ".join(name for name, count in fair.items() if count == number)
        yield ArmSpec(
            name=f"{BEST_OF} {number} seeds",
            arm=BestOf(arms=(STANDARD, *map(_nth_seed, range(1, number)))),
            about=f"best image by the selecting reward; costs at least as much as {names}",
            limit=options.limit_guidance if number > 2 else None,
        )


def _nth_seed(index: int) -> str:
    return SECOND_SEED if index == 1 else f"seed {index + 1}"


def _controls(options: ArmOptions) -> Iterator[ArmSpec]:
    subject, limit = _subject(options), options.limit_controls
    yield ArmSpec(
        name=f"{subject}, twice",
        arm=Proposed(proposer=subject, onto=subject),
        about="applied again to its result",
        limit=limit,
    )
    control = partial(ArmSpec, control=True, limit=limit)
    misled = f"{WRONG_PROMPT}: {subject}"
    yield control(
        name=misled,
        arm=Proposed(proposer=subject, for_wrong_prompt=True),
        about="noise made for a different prompt than the image",
    )
    yield control(
        name=STANDARD_FOR_WRONG_PROMPT,
        arm=JudgedByWrongPrompt(images_of=STANDARD),
        against=None,
        about="images of standard noise, scored for an unrelated prompt",
    )
    yield control(
        name=f"{misled}, judged by it",
        arm=JudgedByWrongPrompt(images_of=misled),
        against=STANDARD_FOR_WRONG_PROMPT,
        about="its images, scored for the prompt that the noise was made for",
    )
    # No other arm uses this seed, so the direction is independent of all other noises.
    yield control(
        name=f"{RANDOM}: {subject}",
        arm=RandomPerturbation(like=subject, seed_index=max(_seed_indices(options)) + 1),
        about="at the same distance from the source noise, in a random direction",
    )


def _seed_indices(options: ArmOptions) -> list[int]:
    return [spec.arm.seed_index for spec in _seeds(options) if isinstance(spec.arm, Plain)]


def _guidance(options: ArmOptions) -> Iterator[ArmSpec]:
    """Yield standard noise with guidance, and other noise compared with it at equal guidance."""
    steps, image = options.sampling.num_inference_steps, _image_evaluations(options)
    standard = options.sampling.guidance_scale
    for scale in sorted({*options.plain_guidance} - {standard}):
        # Rounded down, so that this arm takes no more evaluations than a standard image.
        fewer = max(1, image // forward_evaluations(scale, options.model_guidance))
        if fewer == steps:
            continue  # Guidance costs nothing extra here: the arms below are the same.
        yield ArmSpec(
            name=_guided(scale, fewer),
            arm=Plain(sampling=_sampling(options, scale, fewer)),
            about="plain guidance at the cost of the standard image, with fewer steps",
            limit=options.limit_controls,
        )
    for scale in sorted({*options.plain_guidance, *options.guidance} - {standard}):
        yield ArmSpec(
            name=_guided(scale, steps),
            arm=Plain(sampling=_sampling(options, scale, steps)),
            about="plain guidance with all steps",
            limit=options.limit_guidance,
        )
    for scale in sorted({*options.guidance} - {standard}):
        for name in options.networks or (GOLDEN,):
            yield ArmSpec(
                name=f"{name} at {_guided(scale, steps)}",
                arm=Resampled(noise_of=name, sampling=_sampling(options, scale, steps)),
                against=_guided(scale, steps),
                about=f"{name} noise, sampled with guidance",
                limit=options.limit_guidance,
            )


def _guided(scale: float, steps: int) -> str:
    return f"guidance {scale:g}, {steps} steps"


def _sampling(options: ArmOptions, scale: float, steps: int) -> SamplingConfig:
    """Return the trial's sampling settings with another guidance scale and number of steps."""
    return options.sampling.model_copy(
        update={"num_inference_steps": steps, "guidance_scale": scale}
    )
