"""Options that only some families accept, compared with the calls of the pipelines."""

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from transformers import AddedToken

from pipeline.config.proposers import RedenoiseSettings
from pipeline.core.errors import ConfigError, ModelError
from pipeline.diffusion.noise import source_noise
from pipeline.diffusion.redenoise import redenoise
from pipeline.diffusion.sample import sample_latents
from pipeline.models.diffusers.call_options import OPTIONS
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from pipeline.models.diffusers.families import FAMILIES
from pipeline.models.resolved_models import ResolvedModels
from pipeline.prompts.token_limit import drop_too_long, token_limits
from pipeline.workflows.plan import make_plan, prompts_of
from tests.models.diffusers.families.tiny_pipelines import build, options_of
from tests.prompts.reading import prompts_of as as_read
from tests.sealed import changed, write_config

PROMPTS = ["a red", "x and z"]
NEGATIVE = "big"
STEPS, SCALE = 3, 4.0


def denoiser(name: str, **options: Any) -> DiffusersDenoiser:
    return DiffusersDenoiser(build(name), name, **options_of(name), **options)


@pytest.mark.parametrize("pipeline", FAMILIES)
def test_options_of_a_family_are_those_of_its_pipelines_call(pipeline: str) -> None:
    parameters = inspect.signature(getattr(diffusers, pipeline).__call__).parameters
    renamed = {"embedded_guidance"} & FAMILIES[pipeline].options  # the call names it guidance_scale
    if pipeline == "HunyuanDiTPipeline":
        assert "max_sequence_length" not in parameters  # each encoder has a fixed length
    assert FAMILIES[pipeline].options == {name for name in OPTIONS if name in parameters} | renamed


@pytest.mark.parametrize(
    ("name", "options", "rescale"),
    [
        ("stable_diffusion", {"negative_prompt": NEGATIVE, "clip_skip": 1}, 0.7),
        ("stable_diffusion_xl", {"negative_prompt": NEGATIVE, "clip_skip": 1}, 0.7),
        ("stable_diffusion_xl", {"negative_prompt": ""}, 0.0),
        ("pixart_sigma", {"negative_prompt": NEGATIVE, "max_sequence_length": 20}, 0.0),
        ("hunyuan_dit", {"negative_prompt": NEGATIVE}, 0.7),
        (
            "stable_diffusion_3",
            {"negative_prompt": NEGATIVE, "max_sequence_length": 20, "clip_skip": 1},
            0.0,
        ),
        ("flux_true_cfg", {"negative_prompt": NEGATIVE, "max_sequence_length": 20}, 0.0),
        ("wan", {"negative_prompt": NEGATIVE, "max_sequence_length": 20}, 0.0),
    ],
)
def test_images_equal_those_of_the_pipelines_call_with_the_same_words(
    name: str, options: dict[str, Any], rescale: float
) -> None:
    ours = denoiser(name, **options)
    noise = torch.stack([source_noise(seed, ours.latent_shape) for seed in range(2)])
    latents = sample_latents(
        ours, ours.encode_prompts(PROMPTS), noise, STEPS, SCALE, guidance_rescale=rescale
    )
    images = ours._images(latents)
    pipe, family = ours._pipe, ours._traced.family
    size = options_of(name)
    embedded = {"guidance_scale": size.pop("embedded_guidance", SCALE)}
    call_options = {**family.call_options, **options}
    if "negative_prompt" in options:
        call_options["negative_prompt"] = [options["negative_prompt"]] * len(PROMPTS)
    expected = pipe(
        prompt=PROMPTS,
        latents=noise,
        num_inference_steps=STEPS,
        output_type="pt",
        return_dict=False,
        **{**call_options, **size, **embedded, family.guidance_option: SCALE},
        **({"guidance_rescale": rescale} if rescale else {}),
    )[0]
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)
    plain = denoiser(name)
    without = sample_latents(plain, plain.encode_prompts(PROMPTS), noise, STEPS, SCALE)
    assert float((latents - without).norm() / without.norm()) > 1e-4


def test_clip_skip_leaves_out_the_last_layers_but_not_the_norm() -> None:
    """The formula is written out, because with transformers 5 the pipeline needs a correction."""
    ours = denoiser("stable_diffusion", clip_skip=1)
    pipe = build("stable_diffusion")
    ids = pipe.tokenizer(
        PROMPTS, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    encoder = pipe.text_encoder
    with torch.no_grad():
        skipped = encoder(ids, output_hidden_states=True).hidden_states[-2]
        expected = encoder.final_layer_norm(skipped)
    found = ours.encode_prompts(PROMPTS).conditional.tensors["encoder_hidden_states"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_negative_prompt_changes_redenoising_and_swaps_with_the_prompt() -> None:
    settings = RedenoiseSettings(num_inference_steps=5, guidance_scale=SCALE)
    golden = {}
    for text in (None, NEGATIVE):
        ours = denoiser("stable_diffusion", negative_prompt=text)
        noise = source_noise(0, ours.latent_shape)[None]
        prompts = ours.encode_prompts(PROMPTS[:1])
        golden[text] = redenoise(ours, prompts, noise, settings).latents
        swapped = prompts.take([0])
        other = denoiser("stable_diffusion").encode_prompts([text or ""]).conditional
        assert all(
            torch.allclose(tensor, other.tensors[key], atol=1e-6)
            for key, tensor in swapped.unconditional.tensors.items()
        )
    assert not torch.equal(golden[None], golden[NEGATIVE])


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("stable_diffusion_xl", "max_sequence_length", 20),
        ("stable_diffusion_xl", "num_frames", 5),
        ("pixart_sigma", "clip_skip", 1),
        ("stable_diffusion_3", "num_frames", 5),
        ("stable_diffusion", "embedded_guidance", 3.5),
    ],
)
def test_an_option_that_a_family_does_not_accept_is_rejected(
    name: str, option: str, value: Any
) -> None:
    pipeline = type(build(name)).__name__
    with pytest.raises(ModelError, match=rf"{name}: {pipeline} has no {option}; .*\[model\]"):
        denoiser(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stable_diffusion_xl", {"clip_skip": 9}, "clip_skip = 9 .* more layers"),
        ("flux_true_cfg", {"max_sequence_length": 600}, "cannot be greater than 512"),
        ("stable_diffusion", {"negative_prompt": "x " * 20}, "22 tokens of tokenizer, .* only 16"),
    ],
)
def test_a_value_that_a_model_does_not_support_is_rejected(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=f"{name}: .*{message}"):
        denoiser(name, **options)


@pytest.mark.parametrize(("asked", "allowed"), [(6, "5 or 9"), (7, "5 or 9"), (8, "5 or 9")])
def test_a_number_of_frames_that_wan_would_round_is_rejected(asked: int, allowed: str) -> None:
    with pytest.raises(ModelError, match=rf"wan: asked for .* {asked} frames.*to {allowed} \(4·k"):
        DiffusersDenoiser(build("wan"), "wan", height=32, width=32, num_frames=asked)


def test_plans_have_only_the_options_that_are_set_and_other_ids_with_them(tmp_path: Path) -> None:
    plain, _ = make_plan(write_config(tmp_path / "plain"))
    names = {"negative_prompt", "max_sequence_length", "clip_skip", "guidance_rescale"}
    stored = plain.settings.stored()
    assert not names & {*stored["model"], *stored["sampling"]}
    zero, _ = make_plan(
        write_config(tmp_path / "zero", changed(sampling={"guidance_rescale": 0.0}))
    )
    assert zero.plan_id == plain.plan_id
    ids = {plain.plan_id}
    changes: list[tuple[str, dict[str, Any]]] = [
        ("model", {"negative_prompt": ""}),
        ("model", {"negative_prompt": NEGATIVE}),
        ("model", {"clip_skip": 1}),
        ("sampling", {"guidance_rescale": 0.5}),
    ]
    for number, (section, values) in enumerate(changes):
        config = write_config(tmp_path / str(number), changed(**{section: values}))
        plan, _ = make_plan(config)
        stored = plan.settings.stored()[section]
        assert {**stored, **values} == stored
        ids.add(plan.plan_id)
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("pipeline", "sections", "message"),
    [
        ("StableDiffusion3Pipeline", {"sampling": {"guidance_rescale": 0.5}}, r"\[sampling\]"),
        ("StableDiffusionPipeline", {"model": {"max_sequence_length": 20}}, r"\[model\]"),
    ],
)
def test_an_option_that_a_family_does_not_accept_is_rejected_by_the_plan(
    pipeline: str, sections: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    model = {"path": str(tmp_path / "model"), **sections.get("model", {})}
    settings = changed(**{**sections, "model": model})
    with pytest.raises(ModelError, match=f"{pipeline} has no .*{message}"):
        make_plan(write_config(tmp_path, settings))


def test_negative_prompt_without_a_second_prediction_is_rejected(tmp_path: Path) -> None:
    model = {"negative_prompt": NEGATIVE, "guidance": "embedded"}
    with pytest.raises(ConfigError, match="negative_prompt is for guidance = 'classifier_free'"):
        write_config(tmp_path, changed(model=model))


def test_truncated_follows_max_sequence_length() -> None:
    ours = denoiser("pixart_sigma", max_sequence_length=6)
    assert ours.encode_prompts(["abcd", "abcdefgh"]).truncated == (False, True)


def test_all_vectors_of_a_textual_inversion_count_as_tokens(tmp_path: Path) -> None:
    """The pipeline expands its word, as ``load_textual_inversion`` left it in the tokenizer."""
    pipe = build("stable_diffusion")
    vectors = ["<it>", *(f"<it>_{index}" for index in range(1, 6))]
    pipe.tokenizer.add_tokens([AddedToken(token, normalized=False) for token in vectors])
    pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer))
    texts = ["x " * 9 + "<it>", "x " * 8 + "<it>", "<it> <it>", "<it> <it>, <it>", "x " * 14]
    lengths = [17, 16, 14, 21, 16]
    for text, length in zip(texts, lengths, strict=True):
        converted = pipe.maybe_convert_prompt(text, pipe.tokenizer)
        assert len(pipe.tokenizer(converted).input_ids) == length
    expected = [length > 16 for length in lengths]
    ours = DiffusersDenoiser(pipe, "tiny", height=16, width=16)
    assert list(ours.encode_prompts(texts).truncated) == expected
    pipe.tokenizer.save_pretrained(tmp_path / "tokenizer")
    drops = drop_too_long(as_read(texts), token_limits(tmp_path, {"tokenizer": None}))
    assert [drop is not None for drop in drops] == expected


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [
        ("stable_diffusion", "tokenizer"),
        ("stable_diffusion_xl", "tokenizer_2"),
        ("stable_diffusion_3", "tokenizer"),
        ("flux_true_cfg", "tokenizer"),
    ],
)
@pytest.mark.parametrize("length", [int(1e30), 40])
def test_a_tokenizer_without_the_length_of_its_encoder_is_rejected(
    name: str, tokenizer: str, length: int
) -> None:
    pipe = build(name)
    getattr(pipe, tokenizer).model_max_length = length
    with pytest.raises(ModelError, match=rf"{name}: .*model_max_length.*{tokenizer}/.*16 posit"):
        DiffusersDenoiser(pipe, name, **options_of(name))


def test_t5_without_a_length_reads_the_length_of_the_call() -> None:
    pipe = build("pixart_sigma")
    pipe.tokenizer.model_max_length = int(1e30)
    ours = DiffusersDenoiser(pipe, "pixart", **options_of("pixart_sigma"))
    assert ours.encode_prompts(["a" * 290, "a" * 310]).truncated == (False, True)


def test_sd3_without_t5_equals_diffusers_and_has_the_limits_of_clip(tmp_path: Path) -> None:
    pipe = build("stable_diffusion_3")
    pipe.register_modules(text_encoder_3=None)
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["text_encoder_3"] == [None, None] and index["tokenizer_3"][0] is not None
    ours = DiffusersDenoiser.load(
        tmp_path, device=torch.device("cpu"), dtype=torch.float32, height=16, width=16
    )
    prompts = ours.encode_prompts([*PROMPTS, "x " * 20])
    assert prompts.truncated == (False, False, True)
    noise = torch.stack([source_noise(seed, ours.latent_shape) for seed in range(2)])
    latents = sample_latents(ours, prompts.take([0, 1]), noise, STEPS, SCALE)
    expected = pipe(
        prompt=PROMPTS,
        latents=noise,
        num_inference_steps=STEPS,
        guidance_scale=SCALE,
        height=16,
        width=16,
        output_type="pt",
    ).images
    torch.testing.assert_close(ours.decode(latents), expected, rtol=0, atol=1e-5)
    settings = changed(model={"path": str(tmp_path)}, prompts={"too_long": "drop"})
    config = write_config(tmp_path / "plan", settings, prompts=["x", "x " * 20])
    assert prompts_of(config, ResolvedModels(config)).prompts == ("x",)
