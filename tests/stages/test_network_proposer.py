"""A noise prompt network as the proposer: alone, in a plan, and in a unit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config.file import load_config
from pipeline.config.model import ModelConfig
from pipeline.config.proposers import NPNetConfig
from pipeline.core.errors import ModelError
from pipeline.diffusion.noise import source_noise
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.load import load_network
from pipeline.models.model_identity import identity_of, refuse_other_rows
from pipeline.npnet import NPNet
from pipeline.npnet.config import SmallLayout
from pipeline.npnet.latents import PackedLatents
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.propose import Source
from pipeline.stages.proposers import NetworkProposer
from pipeline.stages.unit import produce_unit
from pipeline.workflows.plan import make_plan
from tests.npnet.layouts import shaken
from tests.npnet.origins import OTHER_MODEL, save_trained_for
from tests.sealed import demo_models, demo_prompts, write_config
from tests.stages.broken_models import WrappedDenoiser
from tests.stages.demo_unit import KEEP_ALL, source_noises, stored_pairs

LAYOUT = SmallLayout(latent_shape=(4, 8, 8), prompt_width=128, width=16, blocks=1)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """The folder of a network for the demo's model."""
    shaken(LAYOUT).save(tmp_path / "network")
    return tmp_path / "network"


def settings(network: Path, rounds: int = 1) -> dict[str, Any]:
    """The settings of a build that proposes with a network."""
    others = {name: section for name, section in KEEP_ALL.items() if name != "redenoise"}
    return others | {"npnet": {"path": str(network), "rounds": rounds}}


@pytest.mark.parametrize("rounds", [1, 2])
def test_proposer_applies_the_network_round_after_round(network: Path, rounds: int) -> None:
    denoiser, npnet = demo_models()[0], NPNet.load(network)
    noise = torch.stack([source_noise(seed, (4, 8, 8)) for seed in range(3)])
    prompts = denoiser.encode_prompts(demo_prompts(3))
    proposer = NetworkProposer(network=npnet, rounds=rounds)
    (proposed,) = proposer.propose(denoiser, prompts, Source(noise=noise))
    expected = noise
    for _ in range(rounds):
        expected = npnet(expected, prompts.conditional.tensors["encoder_hidden_states"])
    assert torch.equal(proposed.golden_noise, expected)
    assert not torch.equal(expected, noise)
    assert proposed.converged == (True, True, True)
    assert proposed.forward_evaluations == (rounds,) * 3 == (proposer.evaluations,) * 3


def test_plan_of_a_network_names_its_digest_and_no_path(network: Path, tmp_path: Path) -> None:
    plan, _ = make_plan(write_config(tmp_path / "a", settings(network)))
    assert not {"redenoise", "npnet"} & plan.settings.stored().keys()
    (proposer,) = plan.proposers
    assert set(proposer.model_dump()) == {"kind", "name", "rounds", "digest"}
    assert str(tmp_path) not in plan.model_dump_json()
    (network / "training.json").write_text("{}")
    assert make_plan(write_config(tmp_path / "b", settings(network)))[0] == plan


def test_plan_id_changes_with_the_network_and_its_rounds(network: Path, tmp_path: Path) -> None:
    plans = [make_plan(write_config(tmp_path / "a", settings(network, r)))[0] for r in (1, 2)]
    shaken(LAYOUT, seed=1).save(network)
    plans.append(make_plan(write_config(tmp_path / "b", settings(network)))[0])
    assert len({plan.plan_id for plan in plans}) == 3


def test_plan_of_a_network_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: no noise prompt network here"):
        make_plan(write_config(tmp_path, settings(tmp_path / "nowhere")))


def test_unit_golden_noise_is_the_networks(network: Path, tmp_path: Path) -> None:
    plan, table = make_plan(write_config(tmp_path, settings(network), prompts=demo_prompts(3)))
    spec, candidates = BuildSpec.of(plan), list(table.candidates(plan, plan.unit_range(0)))
    denoiser, rewards = demo_models()
    counting, npnet = WrappedDenoiser(denoiser), NPNet.load(network)
    loaded = {"npnet": NetworkProposer(network=npnet, rounds=1)}
    produced = produce_unit(candidates, counting, rewards, spec, loaded=loaded)
    # The denoiser evaluates the images only. The network's evaluations are counted separately.
    assert counting.rows_predicted == len(candidates) * 2 * spec.image_evaluations()
    assert produced.forward_evaluations == len(candidates) * spec.evaluations()
    assert spec.evaluations() == 2 * spec.image_evaluations() + 1

    pairs = stored_pairs(produced)[: spec.batch_size]
    noise = torch.from_numpy(np.stack(source_noises(pairs))).float()
    with torch.inference_mode():
        prompts = denoiser.encode_prompts([pair.prompt for pair in pairs]).conditional
        golden = npnet(noise, prompts.tensors["encoder_hidden_states"])
    stored = torch.from_numpy(np.stack([pair.golden_noise for pair in pairs]))
    torch.testing.assert_close(stored.float(), golden, atol=2e-3, rtol=1e-3)


def test_network_of_another_model_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    other = LAYOUT.model_copy(update={"latent_shape": (4, 16, 16)})
    NPNet.new(other, 0).save(tmp_path)
    with pytest.raises(ModelError, match=r"\(1, 4, 8, 8\).*\(B, 4, 16, 16\)"):
        load_network(NPNetConfig(path=str(tmp_path)), demo_models()[0], load_config("demo").model)


def test_plan_with_a_network_of_another_model_is_refused_unless_it_is_meant(
    network: Path, tmp_path: Path
) -> None:
    save_trained_for(OTHER_MODEL, NPNet.load(network), network)
    with pytest.raises(
        ModelError, match=r"trained for 'other'.*allow_other_model = true"
    ) as raised:
        make_plan(write_config(tmp_path, settings(network)))
    demo = identity_of(resolve_model(load_config("demo").model))
    assert demo.text_encoder is not None
    for digest in (OTHER_MODEL.digest, demo.digest, demo.text_encoder[:16]):
        assert digest in str(raised.value)
    meant = settings(network)
    meant["npnet"]["allow_other_model"] = True
    (proposer,) = make_plan(write_config(tmp_path, meant))[0].proposers
    assert set(proposer.model_dump()) == {"kind", "name", "rounds", "digest"}


def test_plan_with_a_network_of_its_own_model_does_not_need_it_allowed(
    network: Path, tmp_path: Path
) -> None:
    demo = identity_of(resolve_model(load_config("demo").model))
    save_trained_for(demo, NPNet.load(network), network)
    plan, _ = make_plan(write_config(tmp_path, settings(network)))
    allowed = settings(network)
    allowed["npnet"]["allow_other_model"] = True
    assert make_plan(write_config(tmp_path, allowed))[0] == plan


def test_network_for_packed_noises_in_other_rows_is_refused() -> None:
    layout = LAYOUT.model_copy(
        update={"latents": PackedLatents(rows=2, columns=4), "latent_shape": (4, 4, 8)}
    )
    wide, high = (
        ModelConfig(name="flux", path="flux", height=height, width=width)
        for height, width in ((256, 512), (512, 256))
    )
    refuse_other_rows("net", layout, wide)
    with pytest.raises(ModelError, match=r"net: trained on noises of \(4, 4, 8\).*\(4, 8, 4\)"):
        refuse_other_rows("net", layout, high)
