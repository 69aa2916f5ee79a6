"""Every family, on its real classes with tiny random weights, against three references.

They are the pipeline's call, its network called by hand (``references``), and the fact that
denoising and inverting at one guidance scale returns the noise.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import exp, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.config.proposers import RedenoiseSettings
from pipeline.diffusion.denoiser import EncodedPrompts
from pipeline.diffusion.noise import source_noise
from pipeline.diffusion.redenoise import redenoise
from pipeline.diffusion.sample import sample_latents
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from pipeline.models.diffusers.families import FAMILIES
from pipeline.models.diffusers.text_encoders import TextEncoder
from tests.models.diffusers.families.references import REFERENCES, Reference, flux
from tests.models.diffusers.families.tiny_pipelines import PIPELINES, build, options_of

PROMPTS = ["a red apple", "x", "a big blue and"]
DOWN, BACK, STEPS, N = 3.0, 1.0, 3, 10


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A family's denoiser with prompts and noises for it."""

    name: str
    denoiser: DiffusersDenoiser
    prompts: EncodedPrompts
    noise: Tensor

    @property
    def pipe(self) -> Any:
        return self.denoiser._pipe

    def inputs(self, *, negative: bool) -> dict[str, Tensor]:
        """Return the inputs of the pipeline's call for all prompts, from its encoders."""
        traced = self.denoiser._traced
        each = [traced.encode("" if negative else p, negative=negative) for p in PROMPTS]
        return {name: torch.cat([one[name] for one in each]) for name in each[0]}


@pytest.fixture(scope="module", params=PIPELINES)
def subject(request: pytest.FixtureRequest) -> Subject:
    name = request.param
    denoiser = DiffusersDenoiser(build(name), name, **options_of(name))
    return Subject(
        name=name,
        denoiser=denoiser,
        prompts=denoiser.encode_prompts(PROMPTS),
        noise=torch.stack([source_noise(seed, denoiser.latent_shape) for seed in range(3)]),
    )


@pytest.mark.parametrize("scale", [1.0, DOWN])
def test_images_equal_those_of_the_pipelines_call(subject: Subject, scale: float) -> None:
    denoiser = subject.denoiser
    ours = denoiser.decode(sample_latents(denoiser, subject.prompts, subject.noise, 4, scale))
    pipe = subject.pipe
    options = options_of(subject.name)
    embedded = options.pop("embedded_guidance", None)
    name = denoiser._traced.family.guidance_option
    guided = {"guidance_scale" if options.pop("guidance", None) else name: scale}
    inputs = subject.inputs(negative=False)
    if name in guided and scale != 1:
        inputs |= {f"negative_{k}": v for k, v in subject.inputs(negative=True).items()}
    theirs = pipe(
        latents=subject.noise,
        num_inference_steps=4,
        output_type="pt",
        return_dict=False,
        **{**denoiser._traced.family.call_options, **options, **inputs, **guided},
        **({} if embedded is None else {"guidance_scale": embedded}),
    )[0]
    if theirs.ndim == 5:
        theirs = theirs[:, 2]  # the frame in the middle of five
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_text_encoder_alone_makes_the_embeddings_that_the_network_receives(
    subject: Subject,
) -> None:
    encoder = TextEncoder(build(subject.name), subject.name, torch.device("cpu"))
    assert torch.equal(encoder.embed(PROMPTS), subject.prompts.embeds)


@pytest.mark.parametrize(
    ("name", "option"),
    [("stable_diffusion", {"clip_skip": 1}), ("pixart_sigma", {"max_sequence_length": 4})],
)
def test_text_encoder_alone_accepts_the_text_options(name: str, option: dict[str, Any]) -> None:
    encoder, default = (
        TextEncoder(build(name), name, torch.device("cpu"), **options) for options in (option, {})
    )
    denoiser = DiffusersDenoiser(build(name), name, **options_of(name), **option)
    assert torch.equal(encoder.embed(PROMPTS), denoiser.encode_prompts(PROMPTS).embeds)
    assert not torch.equal(encoder.embed(PROMPTS)[:, :4], default.embed(PROMPTS)[:, :4])


def test_guidance_changes_the_prediction(subject: Subject) -> None:
    """Guidance changes the result. Without that, the other tests of guidance would show nothing."""
    x = [
        sample_latents(subject.denoiser, subject.prompts, subject.noise, 2, scale)
        for scale in (BACK, DOWN)
    ]
    assert float((x[0] - x[1]).norm() / x[0].norm()) > 0.003


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_exact_inversion_at_the_same_guidance_returns_the_noise(
    subject: Subject, scale: float
) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=20,
        num_steps=2,
        guidance_scale=scale,
        inversion_guidance_scale=scale,
        inversion="exact",
        tolerance=1e-6,
    )
    result = redenoise(subject.denoiser, subject.prompts, subject.noise, settings)
    assert result.converged.all()
    errors = (result.latents - subject.noise).flatten(1).norm(dim=1)
    assert (errors / subject.noise.flatten(1).norm(dim=1)).max() <= 1e-4


def test_golden_noise_equals_the_formulas(subject: Subject) -> None:
    settings = RedenoiseSettings(
        num_inference_steps=N,
        num_steps=STEPS,
        guidance_scale=DOWN,
        inversion_guidance_scale=BACK,
    )
    ours = redenoise(subject.denoiser, subject.prompts, subject.noise, settings).latents
    expected = straight_line(subject)
    assert float((ours - expected).norm() / expected.norm()) <= 1e-5
    assert float((ours - subject.noise).norm() / subject.noise.norm()) > 1e-3


def test_a_sample_does_not_depend_on_its_place_in_the_batch(subject: Subject) -> None:
    settings = RedenoiseSettings(num_inference_steps=N, num_steps=2, guidance_scale=DOWN)
    rows = [2, 0]
    batch = redenoise(subject.denoiser, subject.prompts, subject.noise, settings).latents
    part = redenoise(
        subject.denoiser, subject.prompts.take(rows), subject.noise[rows], settings
    ).latents
    torch.testing.assert_close(part, batch[rows], rtol=1e-5, atol=5e-5)


def straight_line(subject: Subject) -> Tensor:
    """x'_T, from the network called by hand and the steps of the papers."""
    conditional, negative = subject.inputs(negative=False), subject.inputs(negative=True)

    def guided(x: Tensor, t: float, scale: float) -> Tensor:
        if subject.name == "flux":
            return flux(subject.pipe, x, t, conditional, guidance=scale)
        reference: Reference = REFERENCES[subject.name]
        with_prompt = reference(subject.pipe, x, t, conditional)
        if scale == 1:
            return with_prompt
        without = reference(subject.pipe, x, t, negative)
        return without + scale * (with_prompt - without)

    x = subject.noise
    with torch.no_grad():
        if FAMILIES[type(subject.pipe).__name__].pipeline in ALPHAS:
            return of_alphas(x, guided, subject.pipe.scheduler)
        return of_sigmas(x, guided, sigmas(subject))


ALPHAS = {
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "PixArtSigmaPipeline",
    "HunyuanDiTPipeline",
}


def of_alphas(x: Tensor, guided: Any, scheduler: Any) -> Tensor:
    """DDIM, eq. 12 of arXiv 2010.02502, at 901, 801, 701 (leading spacing, offset 1)."""
    timesteps = [901, 801, 701]
    alphas = [float(scheduler.alphas_cumprod[t]) for t in (*timesteps, 601)]
    is_v = scheduler.config.prediction_type == "v_prediction"

    def moved(x: Tensor, at: float, to: float, output: Tensor) -> Tensor:
        """Step from ᾱ = at to ᾱ = to with the network's output at ``at``."""
        a, s = sqrt(at), sqrt(1 - at)
        x_0 = a * x - s * output if is_v else (x - s * output) / a
        eps = s * x + a * output if is_v else output
        return sqrt(to) * x_0 + sqrt(1 - to) * eps

    steps = list(zip(timesteps, alphas, alphas[1:], strict=False))
    for t, noisy, clean in steps:
        x = moved(x, noisy, clean, guided(x, t, DOWN))
    for t, noisy, clean in reversed(steps):
        output = guided(x, t, BACK)
        # The output belongs to the noisier level: x solves moved(x, noisy, clean, output) = x'.
        zero = torch.zeros_like(x)
        slope = moved(torch.ones_like(x), noisy, clean, zero)
        x = (x - moved(zero, noisy, clean, output)) / slope
    return x


def of_sigmas(x: Tensor, guided: Any, sigmas: list[float]) -> Tensor:
    """Euler along the flow of arXiv 2210.02747, and back."""
    steps = list(pairwise(sigmas[: STEPS + 1]))
    for high, low in steps:
        x = x + (low - high) * guided(x, 1000 * high, DOWN)
    for high, low in reversed(steps):
        x = x - (low - high) * guided(x, 1000 * high, BACK)
    return x


def sigmas(subject: Subject) -> list[float]:
    if subject.name.startswith("flux"):
        # 16 patches; the shift grows linearly from .5 at 256 patches to 1.15 at 4096.
        mu = 0.5 + (16 - 256) * (1.15 - 0.5) / (4096 - 256)
        return [exp(mu) / (exp(mu) + 1 / s - 1) for s in (1 - i / N for i in range(N))]
    shift = partial(shifted, shift=3.0)
    # From 1 to the cleanest level of the training, shifted at both ends.
    low = shift(1 / 1000)
    return [shift(1 + (low - 1) * i / (N - 1)) for i in range(N)]


def shifted(sigma: float, shift: float) -> float:
    """Eq. 23 of arXiv 2403.03206."""
    return shift * sigma / (1 + (shift - 1) * sigma)
