"""Costs of a plan against published figures."""

import pytest

from pipeline.config.model import ModelConfig
from pipeline.config.sections import OutputConfig
from pipeline.costs.plan_costs import gpu_hours, pair_bytes
from pipeline.costs.published import ARCHITECTURES, SPEEDS, Speed, architecture_of

SDXL = ModelConfig(path="models/stable-diffusion-xl-base-1.0", name="SDXL")


@pytest.mark.parametrize("speed", SPEEDS, ids=lambda speed: f"{speed.architecture} {speed.gpu}")
def test_speed_adds_up_to_the_published_image(speed: Speed) -> None:
    assert speed.architecture in {architecture.name for architecture in ARCHITECTURES}
    assert speed.source
    total = speed.image_evaluations * speed.evaluation_seconds + speed.decode_seconds
    assert total == pytest.approx(speed.image_seconds)


def test_hundred_thousand_kept_pairs_of_sdxl_take_about_140_hours() -> None:
    architecture = architecture_of(SDXL)
    assert architecture is not None
    costs = gpu_hours(architecture, SDXL, candidates=round(100_000 / 0.6), evaluations=41, images=2)
    plain = next(c for c in costs if (c.speed.gpu, c.speed.software) == ("A100", "PyTorch"))
    assert plain.hours == pytest.approx(140, rel=0.1)


def test_arithmetic_shows_every_factor() -> None:
    architecture = architecture_of(SDXL)
    assert architecture is not None
    cost = gpu_hours(architecture, SDXL, candidates=1000, evaluations=43, images=2)[0]
    # 1,000 × (43 × (3.704 s − 0.228 s) / 60 + 2 × 0.228 s) = 2,947 s
    assert cost.arithmetic() == "1,000 × (43 × 0.0579 s + 2 × 0.228 s decoding) = 0.82 GPU-hours"


@pytest.mark.parametrize(("height", "width"), [(512, 512), (1024, 768), (2048, 2048)])
def test_other_sizes_have_no_published_speed(height: int, width: int) -> None:
    model = SDXL.model_copy(update={"height": height, "width": width})
    architecture = architecture_of(model)
    assert architecture is not None
    assert gpu_hours(architecture, model, candidates=1, evaluations=1, images=2) == []


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("models/stable-diffusion-xl-base-1.0", 4 * 128 * 128),
        ("models/HunyuanDiT-v1.2-Diffusers", 4 * 128 * 128),
        ("models/stable-diffusion-3.5-large", 16 * 128 * 128),
        ("models/FLUX.1-dev", 64 * 64 * 64),
    ],
)
def test_latents_of_published_models_are_as_large_as_they_are(place: str, values: int) -> None:
    model = ModelConfig(path=place, name="model")
    architecture = architecture_of(model)
    assert architecture is not None
    assert architecture.latent_values(model) == values


def test_pair_of_sdxl_is_as_large_as_published() -> None:
    values = 4 * 128 * 128
    both, one = (OutputConfig(source_noise=stored) for stored in (True, False))
    assert pair_bytes(both, values, 0, ["abc", "abcde"]) == 262_144 + 4
    assert pair_bytes(one, values, 0, ["abc", "abcde"]) == 131_072 + 4
    images = OutputConfig(images="png")
    assert pair_bytes(images, values, 3 * 1024**2, ["a"]) == 262_144 + 6 * 1024**2 + 1


def test_hub_and_folder_name_the_same_architecture_and_others_none() -> None:
    hub = ModelConfig(hub="black-forest-labs/FLUX.1-dev", revision="0" * 40, name="FLUX")
    assert architecture_of(hub) == architecture_of(ModelConfig(path="/m/flux.1-dev", name="FLUX"))
    assert architecture_of(ModelConfig(path="/m/another", name="FLUX")) is None
