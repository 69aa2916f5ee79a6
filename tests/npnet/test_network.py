"""Properties of noise prompt networks of every layout."""

import json
import os
from pathlib import Path

import pytest
import torch

from pipeline.core.errors import ModelError
from pipeline.npnet import NPNet
from pipeline.npnet.config import Layout
from pipeline.npnet.network_files import network_digest
from tests.npnet.layouts import (
    LAYOUTS,
    SMALL,
    TWO_BRANCH,
    inputs,
    name_of,
    shaken,
    without_gradient,
)

by_kind = pytest.mark.parametrize("layout", LAYOUTS, ids=name_of)


@by_kind
def test_network_new_leaves_the_noise_as_it_is(layout: Layout) -> None:
    noise, prompt_embeds = inputs(layout, 3)
    golden = NPNet.new(layout, seed=1)(noise, prompt_embeds)
    torch.testing.assert_close(golden, noise, atol=1e-5, rtol=0)


@by_kind
def test_network_new_follows_from_its_seed_alone(layout: Layout) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (NPNet.new(layout, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@by_kind
def test_network_gradients_reach_every_parameter(layout: Layout) -> None:
    npnet = shaken(layout)
    noise, prompt_embeds = inputs(layout, 4)
    npnet(noise, prompt_embeds).square().sum().backward()
    # A softmax does not change when every key is moved by one and the same bias.
    assert {name for name in without_gradient(npnet) if not name.endswith("k_proj.bias")} == set()


@by_kind
def test_network_row_depends_only_on_its_noise_and_prompt(layout: Layout) -> None:
    npnet = shaken(layout).eval()
    noise, prompt_embeds = inputs(layout, 5)
    others, other_embeds = inputs(layout, 5, seed=9)
    others[2], other_embeds[2] = noise[2], prompt_embeds[2]
    together = npnet(noise, prompt_embeds)
    torch.testing.assert_close(npnet(noise[2:3], prompt_embeds[2:3])[0], together[2])
    torch.testing.assert_close(npnet(others, other_embeds)[2], together[2])


@by_kind
def test_network_reads_noise_and_prompt(layout: Layout) -> None:
    npnet = shaken(layout).eval()
    noise, prompt_embeds = inputs(layout, 2)
    change = npnet(noise, prompt_embeds) - noise
    other_prompt = npnet(noise, prompt_embeds.flip(0)) - noise
    other_noise = npnet(noise.flip(0), prompt_embeds) - noise.flip(0)
    assert (change - other_prompt).abs().max() > 1e-3
    assert (change - other_noise).abs().max() > 1e-3


@by_kind
def test_network_half_precision_noise_is_computed_in_float32(layout: Layout) -> None:
    npnet = shaken(layout).eval()
    noise, prompt_embeds = (tensor.half() for tensor in inputs(layout, 2))
    golden = npnet(noise, prompt_embeds)
    assert golden.dtype == torch.float16
    assert torch.equal(golden, npnet(noise.float(), prompt_embeds.float()).half())


@by_kind
def test_network_saved_and_loaded_is_the_same_bit_for_bit(layout: Layout, tmp_path: Path) -> None:
    npnet = shaken(layout).eval()
    npnet.save(tmp_path / "net")
    loaded = NPNet.load(tmp_path / "net")
    assert loaded.layout == layout
    expected = npnet.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[n]) for n, tensor in loaded.state_dict().items())
    noise, prompt_embeds = inputs(layout, 2)
    with torch.no_grad():  # torch uses other kernels when it records a graph
        assert torch.equal(loaded(noise, prompt_embeds), npnet(noise, prompt_embeds))
    assert not loaded.training


@pytest.mark.parametrize("layout", [one for one in LAYOUTS if one.latents], ids=name_of)
def test_network_computes_on_the_pictures_of_a_noise(layout: Layout) -> None:
    latents = layout.latents
    assert latents is not None
    npnet = shaken(layout).eval()
    of_pictures = shaken(layout.model_copy(update={"latents": None})).eval()
    noise, prompt_embeds = inputs(layout, 2)
    rows = 3 if latents.kind == "film" else 1
    expected = of_pictures(
        latents.to_pictures(noise), prompt_embeds[[n // rows for n in range(2 * rows)]]
    )
    assert torch.equal(npnet(noise, prompt_embeds), latents.to_noises(expected))


def test_network_noise_of_another_shape_names_both() -> None:
    noise, prompt_embeds = torch.zeros(1, 4, 16, 16), inputs(SMALL, 1)[1]
    with pytest.raises(ModelError, match=r"\(1, 4, 16, 16\).*\(B, 4, 8, 8\)"):
        NPNet.new(SMALL, 0)(noise, prompt_embeds)


@pytest.mark.parametrize(
    ("layout", "shape", "message"),
    [
        (SMALL, (1, 6, 33), r"\(1, 6, 33\).*\(B, L, 32\)"),
        (SMALL, (1, 32), r"\(1, 32\).*\(B, L, 32\)"),
        (TWO_BRANCH, (1, 7, 32), r"\(1, 7, 32\).*\(B, 6, 32\)"),
        (TWO_BRANCH, (1, 6, 16), r"\(1, 6, 16\).*\(B, 6, 32\)"),
        (SMALL, (2, 6, 32), "1 noises and 2 prompts"),
    ],
)
def test_network_prompt_embeddings_of_another_shape_name_both(
    layout: Layout, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        NPNet.new(layout, 0)(torch.zeros(1, 4, 8, 8), torch.zeros(shape))


def test_network_small_leaves_features_out_in_training_alone() -> None:
    layout = SMALL.model_copy(update={"dropout": 0.5})
    npnet, without_dropout = shaken(layout), shaken(SMALL)
    noise, prompt_embeds = inputs(layout, 2)
    expected = without_dropout(noise, prompt_embeds)
    assert (npnet(noise, prompt_embeds) - expected).abs().max() > 1e-2
    assert torch.equal(npnet.eval()(noise, prompt_embeds), expected)


def test_network_small_takes_prompts_of_any_length() -> None:
    noise, _ = inputs(SMALL, 2)
    assert NPNet.new(SMALL, 0)(noise, torch.zeros(2, 77, 32)).shape == noise.shape


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of a saved network, for tests that damage it."""
    NPNet.new(SMALL, 0).save(tmp_path / "net")
    return tmp_path / "net"


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_load_folder_without_a_file_says_what_belongs_there(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=r"no noise prompt network here.*jobs\.train_npnet"):
        NPNet.load(folder)


def test_load_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no noise prompt network here"):
        NPNet.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "config",
    ["{", '{"kind": "large"}', '{"kind": "small"}', '{"kind": "small", "latent_shape": [4, 8]}'],
)
def test_load_config_that_describes_nothing_names_the_file(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(
        ModelError,
        match=r"config\.json(: not valid JSON| is no configuration of a noise prompt network)",
    ):
        NPNet.load(folder)


def test_load_truncated_weights_names_the_file(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        NPNet.load(folder)


def test_load_weights_of_another_layout_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"blocks": 3}))
    with pytest.raises(ModelError, match=r"does not belong to config\.json"):
        NPNet.load(folder)


def test_load_files_of_two_networks_are_refused(folder: Path, tmp_path: Path) -> None:
    shaken(SMALL).save(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(ModelError, match="has another digest"):
        NPNet.load(folder)


def test_load_network_of_an_earlier_version_has_no_origin(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["weights_sha256"]
    assert set(config) == {*SMALL.model_dump()} - {"latents"}
    (folder / "config.json").write_text(json.dumps(config))
    loaded = NPNet.load(folder)
    assert loaded.layout == SMALL and loaded.origin is None


def test_digest_is_of_the_two_files_and_of_nothing_beside_them(folder: Path) -> None:
    digest = network_digest(folder)
    (folder / "training.json").write_text("{}")
    assert network_digest(folder) == digest
    shaken(SMALL).save(folder)
    assert network_digest(folder) != digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 10**9}, r"config\.json: blocks is 1,000,000,000; at most"),
        ({"blocks": 10**6}, r"config\.json: declares a network of more than"),
        ({"width": 2**18, "heads": 1}, r"config\.json: declares a network of more than"),
        ({"latent_shape": [4, 2**20, 2**20]}, r"config\.json: declares a network of more than"),
    ],
)
def test_load_a_configuration_of_absurd_sizes_takes_no_memory(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=message):
        NPNet.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_load_a_fifo_or_a_link_out_of_the_folder_is_refused(
    folder: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    for read in (NPNet.load, network_digest):
        with pytest.raises(ModelError, match=rf"{name}: a link to .*outside"):
            read(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    for read in (NPNet.load, network_digest):
        with pytest.raises(ModelError, match=rf"{name}: not a regular file"):
            read(folder)
