"""A small sealed data set, built in this process with the models of the demo."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.file import BUNDLED, load_config
from pipeline.config.plan import Plan
from pipeline.config.sections import Config
from pipeline.core.fingerprint import fingerprint
from pipeline.core.identity import sha256
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.load import load_denoiser, load_rewards
from pipeline.models.resolved_models import ResolvedModels
from pipeline.models.reward import Reward
from pipeline.publish.compact import compact_in
from pipeline.publish.seal import seal
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.unit import ProducedUnit, produce_unit
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import Receipt, commit_unit
from pipeline.storage.success import read_manifest, read_success
from pipeline.workflows.plan import plan_of, prompts_of

CPU = torch.device("cpu")

SETTINGS: dict[str, Any] = {
    "prompts": {"path": "prompts.txt", "seeds_per_prompt": 2, "seed": 7},
    "splits": {"train": 0.6, "validation": 0.2, "test": 0.2},
    "model": {"path": str(BUNDLED / "model"), "name": "demo"},
    "sampling": {"num_inference_steps": 4, "guidance_scale": 1.0},
    "redenoise": {"num_inference_steps": 8, "guidance_scale": 3.0},
    "rewards": [
        {"name": "scene", "kind": "scene", "path": str(BUNDLED / "reward")},
        {"name": "oracle", "kind": "scene_oracle", "select": False},
    ],
    "gate": {"max_norm_deviation": 8.0, "max_kurtosis_deviation": 8.0},
    "units": {"size": 10, "batch_size": 5},
    "output": {
        "formats": ["arrow", "webdataset"],
        "images": "png",
        "shard_bytes": 12_000,
        "rows_per_batch": 2,
    },
}


def demo_prompts(count: int) -> list[str]:
    """Return the first ``count`` prompts of the demo."""
    return (BUNDLED / "prompts.txt").read_text(encoding="utf-8").splitlines()[:count]


def changed(**sections: Any) -> dict[str, Any]:
    """Return ``SETTINGS`` with some keys of some sections replaced."""
    return {
        name: {**section, **sections.get(name, {})}
        if isinstance(section, Mapping)
        else sections.get(name, section)
        for name, section in SETTINGS.items()
    } | {name: section for name, section in sections.items() if name not in SETTINGS}


def to_toml(settings: Mapping[str, Any]) -> str:
    """Return settings as the text of a TOML file."""
    lines = []
    for name, section in settings.items():
        tables = section if isinstance(section, list) else [section]
        header = f"[[{name}]]" if isinstance(section, list) else f"[{name}]"
        for table in tables:
            lines += [header, *(f"{key} = {_toml(value)}" for key, value in table.items()), ""]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key} = {_toml(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def write_config(
    folder: Path, settings: Mapping[str, Any] = SETTINGS, *, prompts: list[str] | None = None
) -> Config:
    """Write a configuration with its prompts to a folder, and load it."""
    lines = demo_prompts(24) if prompts is None else prompts
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "build.toml").write_text(to_toml(settings), encoding="utf-8")
    return load_config(folder / "build.toml")


@cache
def demo_models() -> tuple[Denoiser, dict[str, Reward]]:
    """Return the diffusion model of the demo and both rewards. They are loaded once."""
    config = load_config("demo")
    models = ResolvedModels(config)
    return load_denoiser(models.model, CPU), load_rewards(models.rewards, CPU)


def produce(plan: Plan, prompts: PromptTable, unit: int) -> ProducedUnit:
    """Compute one unit as a worker does."""
    denoiser, rewards = demo_models()
    rewards = {name: rewards[name] for name in plan.reward_names}
    candidates = list(prompts.candidates(plan, plan.unit_range(unit)))
    return produce_unit(candidates, denoiser, rewards, BuildSpec.of(plan))


def receipt_of(plan: Plan, unit: int, produced: ProducedUnit, **run: Any) -> Receipt:
    """Return the receipt of a unit. ``run`` replaces fields that differ between attempts."""
    digest = sha256(produced.data)
    attempt = {
        "attempt_id": "a",
        "host": "h",
        "started": "then",
        "compute_seconds": 1.0,
        "fingerprint": fingerprint(CPU),
        **run,
    }
    return Receipt(
        schema_version=plan.schema_version,
        plan_id=plan.plan_id,
        unit=unit,
        data_key=layout.unit_key(plan.plan_id, unit, digest),
        data_sha256=digest,
        data_bytes=len(produced.data),
        latent_shape=demo_models()[0].latent_shape,
        outcomes=produced.outcomes,
        forward_evaluations=produced.forward_evaluations,
        **attempt,
    )


@dataclass(frozen=True, kw_only=True)
class Built:
    """A plan with all its computed units."""

    config: Config
    plan: Plan
    prompts: PromptTable
    dropped: bytes
    units: tuple[ProducedUnit, ...]

    def commit(self, store: ObjectStore, *, skip: tuple[int, ...] = (), **run: Any) -> None:
        """Write plan and units into a store."""
        write_plan(store, self.plan, self.prompts, self.dropped)
        for unit, produced in enumerate(self.units):
            if unit not in skip:
                commit_unit(store, receipt_of(self.plan, unit, produced, **run), produced.data)

    def seal(self, store: ObjectStore) -> Manifest:
        """Compact and seal, one shard at a time."""
        return seal(store, self.plan, self.prompts, partial(map, partial(compact_in, store)))

    def sealed_in(self, url: str, **run: Any) -> Manifest:
        """Write plan and units into a store and seal it."""
        store = open_store(url)
        self.commit(store, **run)
        return self.seal(store)


def build(
    folder: Path, settings: Mapping[str, Any] = SETTINGS, *, prompts: list[str] | None = None
) -> Built:
    """Compute every unit of a plan."""
    config = write_config(folder, settings, prompts=prompts)
    models = ResolvedModels(config)
    chosen = prompts_of(config, models)
    plan, table = plan_of(config, models, chosen)
    units = tuple(produce(plan, table, unit) for unit in range(plan.num_units))
    return Built(config=config, plan=plan, prompts=table, dropped=chosen.dropped, units=units)


def manifest_of(folder: Path) -> Manifest:
    """Return the first sealed manifest in a folder."""
    store = open_store(str(folder))
    success = read_success(store)
    assert success is not None
    return read_manifest(store, success.manifests[0])


_BUILT: dict[Path, Built] = {}


def built_once(base: Path) -> Built:
    """Build the data set of ``SETTINGS`` once in a test session with this base folder.

    One prompt is repeated, so that the plan has a dropped prompt.
    """
    if base not in _BUILT:
        prompts = demo_prompts(24)
        _BUILT[base] = build(base / "sealed-config", prompts=[*prompts, prompts[3]])
        _BUILT[base].sealed_in(str(base / "sealed"))
    return _BUILT[base]


def copy_of_sealed(base: Path, target: Path) -> Path:
    """Copy the sealed store, for tests that change it."""
    built_once(base)
    shutil.copytree(base / "sealed", target)
    return target


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built_once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def sealed_folder(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the sealed store. Tests must not change it."""
    return tmp_path_factory.getbasetemp() / "sealed"


@pytest.fixture
def damaged(built: Built, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A copy of the sealed store that the test may change."""
    return copy_of_sealed(tmp_path_factory.getbasetemp(), tmp_path / "store")
