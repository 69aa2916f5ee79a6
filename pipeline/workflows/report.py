"""Report and example picture of a plan, stored with the data set."""

from dataclasses import dataclass

from pipeline.config.sections import Config
from pipeline.core.determinism import be_deterministic
from pipeline.core.errors import UserError
from pipeline.diffusion.sample import sample_evaluations
from pipeline.evaluate.controls import plain_guidance
from pipeline.evaluate.examples import draw_grid, example_pairs, shown_reward
from pipeline.evaluate.report import ReportRow, make_report
from pipeline.evaluate.scores import ScoreTable, read_scores
from pipeline.models.load import default_device, load_denoiser, load_rewards
from pipeline.models.resolved_models import ResolvedModels
from pipeline.storage import layout
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_prompts
from pipeline.workflows.plan import make_plan


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """Report of one plan."""

    text: str
    """Report as Markdown."""
    picture: bytes | None
    """Example pairs as PNG; None if no images are stored or no pair was kept."""
    keys: list[str]
    """Keys of the text and of the picture, if any, in the store they were written to."""


def report_plan(
    store: ObjectStore,
    manifest: Manifest,
    config: Config | None,
    guidance: float | None,
    *,
    target: ObjectStore | None = None,
    is_current: bool = True,
) -> PlanReport:
    """Make a report and store it in ``target``, by default the store of the data set.

    With ``config`` and ``guidance``, the report includes the plain-guidance control, which needs
    the models. If the version is not current, the keys contain its number. Raises ``UserError`` if
    ``config`` does not have the plan's ID.
    """
    scores = read_scores(store, manifest)
    extra = []
    if config is not None and guidance is not None:
        extra.append(_guidance_control(store, manifest, scores, config, guidance))
    text = make_report(manifest, scores, extra)
    target = store if target is None else target
    prefix = "" if is_current else f"v{manifest.version}-"
    keys = [layout.report_key(manifest.plan_id, f"{prefix}report.md")]
    target.put(keys[0], text.encode())
    picture = _picture(store, manifest, scores)
    if picture is not None:
        keys.append(layout.report_key(manifest.plan_id, f"{prefix}pairs.png"))
        target.put(keys[1], picture)
    return PlanReport(text=text, picture=picture, keys=keys)


def _guidance_control(
    store: ObjectStore, manifest: Manifest, scores: ScoreTable, config: Config, guidance: float
) -> ReportRow:
    models = ResolvedModels(config)
    if make_plan(config, models)[0].plan_id != manifest.plan_id:
        raise UserError(
            f"the configuration does not belong to plan {manifest.plan_id} in the store; give the "
            "configuration that the plan was built with"
        )
    be_deterministic()
    device = default_device()
    sampling = config.sampling.model_copy(update={"guidance_scale": guidance})
    gains = plain_guidance(
        load_denoiser(models.model, device, config.cluster.cpu_offload),
        load_rewards(models.rewards, device),
        manifest.plan,
        read_prompts(store, manifest.plan),
        scores,
        sampling,
    )
    return ReportRow(
        name=f"control: plain guidance {guidance:g}",
        evaluations=sample_evaluations(
            sampling.num_inference_steps, guidance, config.model.guidance
        ),
        gains=gains,
    )


def _picture(store: ObjectStore, manifest: Manifest, scores: ScoreTable) -> bytes | None:
    reward = shown_reward(manifest.plan)
    examples = example_pairs(store, manifest, scores, reward)
    if not examples or examples[0].pair.golden_image is None:
        return None
    quantiles = ", ".join(f"{100 * example.quantile:.0f}" for example in examples)
    title = (
        f"Plan {manifest.plan_id}: kept pairs at the {quantiles}th percentile of the gain under "
        f"{reward!r}. The frame marks the image with the higher {reward!r} score."
    )
    return draw_grid(examples, title, reward)
