"""Custom proposers and rewards that overwrite their inputs change only their own results.

Every built-in runs beside one such guest, before it and after it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.core.entry_point import make_entry
from pipeline.core.errors import EntryPointError, UserError
from pipeline.core.records import Candidate
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.models.reward import Reward
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.propose import ProposedNoise, Proposer, Source, propose
from pipeline.stages.proposers import NetworkProposer
from pipeline.stages.sample import SampledImages
from pipeline.stages.score import score_images
from pipeline.stages.unit import ProducedUnit, produce_unit
from tests.npnet.layouts import shaken
from tests.sealed import demo_models, demo_prompts
from tests.stages.demo_unit import KEEP_ALL, make_unit
from tests.stages.test_network_proposer import LAYOUT
from tests.stages.test_several_proposals import with_proposers

STEPS = {"num_inference_steps": 2, "guidance_scale": 3.0}
BUILT_IN: list[dict[str, Any]] = [
    {"kind": "redenoise", **STEPS},
    {"kind": "zigzag", **STEPS},
    {"kind": "trajectory"},
    {"kind": "best_of_n", "n": 2},
]


_cudnn: Any = torch.backends.cudnn  # torch's types lack conv


def change_settings() -> None:
    """Change torch settings as custom code may do for speed; they affect later computations."""
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled())
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    _cudnn.conv.fp32_precision = "none"


def settings() -> list[object]:
    return [
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.fp32_precision,
        _cudnn.conv.fp32_precision,
        torch.backends.cudnn.allow_tf32,
    ]


@dataclass
class GuestProposer:
    """Returns the negated source noise, twice; a hostile one overwrites all that it can reach."""

    hostile: bool
    proposals: int = 2
    evaluations: int = 0

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        golden = -source.noise
        if self.hostile:
            change_settings()
            # A view of its input, which it then overwrites through the other proposal's tensor.
            golden = source.noise.neg_()
            assert source.latents is not None
            source.latents.zero_()
            for conditioning in (prompts.conditional, prompts.unconditional):
                for tensor in conditioning.tensors.values():
                    tensor.zero_()
                conditioning.tensors.clear()
        return [ProposedNoise.alike(golden, 0) for _ in range(2)]


@dataclass
class GuestJudge:
    """Scores each image by its mean; a hostile judge blackens it, and reuses its score array."""

    hostile: bool
    scores: Tensor | None = None

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        means = images.float().mean(dim=(1, 2, 3))
        if not self.hostile:
            return means
        change_settings()
        images.zero_()
        assert isinstance(prompts, list)
        prompts[:] = ["" for _ in prompts]
        if self.scores is None:
            self.scores = torch.empty_like(means)
        return self.scores.copy_(means)


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> tuple[BuildSpec, list[Candidate]]:
    settings = with_proposers(KEEP_ALL, BUILT_IN) | {
        "sampling": {"num_inference_steps": 2, "guidance_scale": 1.0},
        "units": {"size": 2, "batch_size": 2},
    }
    spec, candidates = make_unit(
        tmp_path_factory.mktemp("guests"), settings, prompts=demo_prompts(1)
    )
    network: Proposer = NetworkProposer(network=shaken(LAYOUT), rounds=1)
    return replace(spec, proposers={**spec.proposers, "npnet": network}), candidates


def produce(unit: tuple[BuildSpec, list[Candidate]], *, hostile: bool, first: bool) -> ProducedUnit:
    """The unit with a guest among proposers and judges, before the others or after them."""
    spec, candidates = unit
    denoiser, rewards = demo_models()

    proposers: dict[str, Proposer] = {"guest": GuestProposer(hostile=hostile)}
    judges: dict[str, Reward] = {"guest": GuestJudge(hostile=hostile)}
    if first:
        proposers, judges = proposers | {**spec.proposers}, judges | rewards
    else:
        proposers, judges = {**spec.proposers} | proposers, rewards | judges
    return produce_unit(candidates, denoiser, judges, replace(spec, proposers=proposers))


@pytest.mark.parametrize("first", [True, False])
def test_guests_that_overwrite_their_inputs_leave_the_unit_its_bytes(
    unit: tuple[BuildSpec, list[Candidate]], first: bool
) -> None:
    before = settings()
    hostile, honest = (produce(unit, hostile=each, first=first) for each in (True, False))
    assert hostile == honest
    assert settings() == before
    assert any(outcome.losing_proposals for outcome in honest.outcomes)


def test_options_and_settings_are_as_before_after_a_guest_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guest_of_tests.py").write_text(
        "import torch\n"
        "class Guest:\n"
        "    def __init__(self, scales):\n"
        "        self.scale = scales.pop()\n"
        "        torch.set_default_dtype(torch.float64)\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    before, options = settings(), {"scales": [1, 2]}
    made = make_entry("guest_of_tests:Guest", str(tmp_path), options)
    sys.modules.pop("guest_of_tests")
    assert (made.scale, options, settings()) == (2, {"scales": [1, 2]}, before)


@dataclass
class Returns:
    """A proposer and a reward that return a fixed value."""

    made: Any
    proposals: int = 1
    evaluations: int = 1

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        made: Sequence[ProposedNoise] = self.made
        return made

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        made: Tensor = self.made
        return made


def noise(golden: Any, evaluations: Any = (1, 1), converged: Any = (True, True)) -> Any:
    return [
        ProposedNoise(golden_noise=golden, forward_evaluations=evaluations, converged=converged)
    ]


def proposed(made: Any) -> list[tuple[str, ProposedNoise]]:
    denoiser, _ = demo_models()
    source = Source(noise=torch.zeros(2, *denoiser.latent_shape))
    prompts = denoiser.encode_prompts(["a", "b"])
    return [*propose({"fixed": Returns(made)}, denoiser, prompts, source)]


NOISE = torch.zeros(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "returned NoneType"),
        ([NOISE], "returned Tensor in its list"),
        (noise(NOISE.numpy()), "golden noise is ndarray"),
        (noise(NOISE[:1]), r"golden noise of shape \(1, 4, 8, 8\)"),
        (noise(NOISE.int()), "golden noise is torch.int32"),
        (noise(NOISE.to(torch.complex64)), "golden noise is torch.complex64"),
        (noise(NOISE, evaluations=(1,)), r"evaluations and convergence of \[1, 2\] rows"),
        (noise(NOISE, evaluations=(1, 0.5)), "forward_evaluations"),
        (noise(NOISE, evaluations=(1, -1)), "forward_evaluations"),
        (noise(NOISE, evaluations=(1, 2)), "took 2 forward evaluations .* is 1"),
        (noise(NOISE, converged=(True, None)), "converged"),
    ],
)
def test_a_proposer_that_returns_something_else_is_refused(made: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"proposer 'fixed': .*{message}"):
        proposed(made)


def test_proposed_noise_is_a_copy_in_float32_on_the_denoisers_device() -> None:
    buffer = torch.full((2, 4, 8, 8), 0.1, dtype=torch.float64)
    counts = torch.ones(2, dtype=torch.int64)  # its elements are no ints of Python
    ((_, made),) = proposed(noise(buffer, counts, counts == 1))
    buffer.zero_()
    assert made.golden_noise.dtype == torch.float32
    assert torch.equal(made.golden_noise, torch.full((2, 4, 8, 8), 0.1))
    assert made.forward_evaluations == (1, 1) and made.converged == (True, True)
    assert {type(each) for each in (*made.forward_evaluations, *made.converged)} == {int, bool}


def test_golden_noise_that_is_not_finite_is_passed_on_and_fails_its_candidate_later() -> None:
    ((_, made),) = proposed(noise(torch.full((2, 4, 8, 8), float("nan"))))
    assert made.golden_noise.isnan().all()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([0.5, 0.5], "list"),
        (torch.zeros(2, 1), r"\(2, 1\)"),
        (torch.zeros(3), r"\(3,\)"),
        (torch.zeros(2, dtype=torch.complex64), "torch.complex64"),
    ],
)
def test_a_judge_that_returns_no_score_for_each_image_is_refused(made: Any, message: str) -> None:
    images = SampledImages(pixels=torch.zeros(2, 4, 4, 3, dtype=torch.uint8), finite=(True, True))
    with pytest.raises(EntryPointError, match=f"reward 'fixed': score returned .*{message}"):
        score_images({"fixed": Returns(made)}, ["a", "b"], images)


def test_scores_of_any_real_type_are_taken_and_those_that_are_not_finite_are_none() -> None:
    images = SampledImages(pixels=torch.zeros(2, 4, 4, 3, dtype=torch.uint8), finite=(True, True))
    for made, expected in (
        (torch.tensor([1, 2]), [1.0, 2.0]),
        (torch.tensor([0.1, float("nan")], dtype=torch.float64), [float(torch.tensor(0.1)), None]),
        (torch.tensor([1.0, 2.0], requires_grad=True), [1.0, 2.0]),
    ):
        assert score_images({"fixed": Returns(made)}, ["a", "b"], images) == {"fixed": expected}


def test_a_guest_that_ends_the_process_is_named() -> None:
    class Ends:
        proposals, evaluations = 1, 0

        def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
            sys.exit(0)

        def propose(
            self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
        ) -> Sequence[ProposedNoise]:
            sys.exit(1)

    images = SampledImages(pixels=torch.zeros(1, 4, 4, 3, dtype=torch.uint8), finite=(True,))
    with pytest.raises(EntryPointError, match=r"reward 'ends': tried to end .* sys\.exit\(0\)"):
        score_images({"ends": Ends()}, ["a"], images)
    denoiser, _ = demo_models()
    encoded = denoiser.encode_prompts(["a", "b"])
    with pytest.raises(EntryPointError, match=r"proposer 'ends': tried to end .*exit\(1\)"):
        list(propose({"ends": Ends()}, denoiser, encoded, Source(noise=NOISE)))


@pytest.mark.parametrize(
    "source",
    ["import sys\nsys.exit(0)", "class Ends:\n def __init__(self):\n  raise SystemExit(3)"],
)
def test_a_guest_that_ends_the_process_when_it_is_made_is_named(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "npd_ends", raising=False)
    (tmp_path / "npd_ends.py").write_text(source)
    with pytest.raises(EntryPointError, match=r"npd_ends:Ends: tried to end the process with sys"):
        make_entry("npd_ends:Ends", str(tmp_path), {})
