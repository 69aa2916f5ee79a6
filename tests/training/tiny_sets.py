"""Small sealed data sets of tiny random pipelines of any family, with their real parts."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from pipeline.config.sections import Config
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.load import load_denoiser, load_text_encoder
from pipeline.models.resolved_models import ResolvedModels
from pipeline.publish.compact import compact_in
from pipeline.publish.seal import seal
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.unit import produce_unit
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import commit_unit
from pipeline.training.data import PromptEncoder
from pipeline.workflows.plan import make_plan
from tests.sealed import CPU, demo_models, demo_prompts, receipt_of, write_config
from tests.stages.demo_unit import KEEP_ALL


@dataclass(frozen=True, kw_only=True)
class TinySet:
    """A sealed data set and the model that made it."""

    url: str
    config: Config
    denoiser: Denoiser
    encode: PromptEncoder
    """Text encoder of the model, loaded without its other networks."""

    @property
    def file(self) -> str:
        """Path of the configuration file."""
        return str(Path(self.config.prompts.path or "").parent / "build.toml")


def tiny_settings(model: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a build that keeps every pair of a model."""
    return KEEP_ALL | {
        "splits": {"train": 1.0},
        "model": {"name": "tiny", **model},
        "sampling": {"num_inference_steps": 1, "guidance_scale": 1.0},
        "redenoise": {"num_inference_steps": 4, "guidance_scale": 3.0},
        "output": {"formats": ["arrow"], "images": "none"},
    }


def tiny_set(
    folder: Path, pipe: DiffusionPipeline, variant: str | None = None, **options: Any
) -> TinySet:
    """Save ``pipe``, build pairs with it and seal them; ``options`` are those of ``[model]``."""
    pipe.save_pretrained(folder / "model", variant=variant)
    model = {"path": str(folder / "model"), **options}
    settings = tiny_settings(model | ({"variant": variant} if variant else {}))
    config = write_config(folder, settings, prompts=demo_prompts(3))
    models = ResolvedModels(config)
    denoiser = load_denoiser(models.model, CPU)
    plan, table = make_plan(config, models)
    store = open_store(str(folder / "pairs"))
    write_plan(store, plan, table)
    for unit in range(plan.num_units):
        candidates = list(table.candidates(plan, plan.unit_range(unit)))
        produced = produce_unit(candidates, denoiser, demo_models()[1], BuildSpec.of(plan))
        receipt = receipt_of(plan, unit, produced)
        receipt = receipt.model_copy(update={"latent_shape": denoiser.latent_shape})
        commit_unit(store, receipt, produced.data)
    seal(store, plan, table, partial(map, partial(compact_in, store)))
    encoder = load_text_encoder(models.model, CPU)
    return TinySet(
        url=store.url,
        config=config,
        denoiser=denoiser,
        encode=PromptEncoder(encoder.embed, encoder.device),
    )
