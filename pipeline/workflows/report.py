"""Report and example picture of a plan, stored with the data set."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.config.plan import Plan
from pipeline.config.sections import Config
from pipeline.core.determinism import be_deterministic
from pipeline.core.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    RetryableStoreError,
    UserError,
)
from pipeline.diffusion.sample import sample_evaluations
from pipeline.evaluate.controls import plain_guidance
from pipeline.evaluate.examples import draw_grid, example_pairs, shown_reward
from pipeline.evaluate.report import ReportRow, candidate_rows, kept_rows, make_report
from pipeline.evaluate.scores import ScoreTable, read_scores
from pipeline.evaluate.stored_controls import (
    GuidanceControl,
    add_control,
    measured_controls,
    read_controls,
)
from pipeline.models.load import default_device, load_denoiser, load_rewards
from pipeline.models.resolved_models import ResolvedModels
from pipeline.storage import layout
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_prompts
from pipeline.storage.probe import probe
from pipeline.workflows.plan import make_plan

_SWAPS = 20
"""Number of tries to write a report while others of the same plan are written."""


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """Report of one plan."""

    text: str
    """Report as Markdown."""
    picture: bytes | None
    """Example pairs as PNG; None if no images are stored or no pair was kept."""
    keys: list[str]
    """Keys of the text and of the picture, if any, in the store they were written to."""
    plan: Plan
    scores: ScoreTable = field(compare=False, repr=False)
    controls: Sequence[ReportRow] = field(compare=False, repr=False)
    """Controls that were measured with the models."""

    def rows(self) -> tuple[list[ReportRow], list[ReportRow]]:
        """Return the rows of the tables of all candidates and of the kept pairs."""
        if not self.scores.judged().any():
            return [], []
        candidates = candidate_rows(self.plan, self.scores, self.controls)
        return candidates, kept_rows(self.plan, self.scores)


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

    With ``config`` and ``guidance``, the plain-guidance control is measured with the models and
    stored. Every report of the plan has all stored controls. If the version is not current, the
    keys contain its number. Raises ``UserError`` if ``config`` does not have the plan's ID.
    """
    target = store if target is None else target
    prefix = "" if is_current else f"v{manifest.version}-"
    keys = [layout.report_key(manifest.plan_id, f"{prefix}report.md")]
    scores = read_scores(store, manifest)
    if config is not None and guidance is not None:
        # Before the images are sampled, which may take hours.
        probe(target)
        measured = _guidance_control(store, manifest, scores, config, guidance)
        add_control(target, manifest.plan_id, measured)
    text, controls = _write_text(store, target, keys[0], manifest, scores)
    picture = _picture(store, manifest, scores)
    if picture is not None:
        keys.append(layout.report_key(manifest.plan_id, f"{prefix}pairs.png"))
        target.put(keys[1], picture)
    return PlanReport(
        text=text,
        picture=picture,
        keys=keys,
        plan=manifest.plan,
        scores=scores,
        controls=controls,
    )


def _write_text(
    store: ObjectStore, target: ObjectStore, key: str, manifest: Manifest, scores: ScoreTable
) -> tuple[str, Sequence[ReportRow]]:
    """Write the report with all stored controls, and return both."""
    for _ in range(_SWAPS):
        # The stored report is read before the controls. Another report that stores a control in
        # between also replaces the stored report, and then this one is made again.
        before, version = _stored(target, key)
        controls = read_controls((store, target), manifest.plan_id)
        rows = [control.row(manifest.plan.reward_names) for control in controls]
        text = make_report(manifest, scores, rows)
        _refuse_lost_controls(f"{target.url}/{key}", before, text)
        data = text.encode()
        if version is None and target.put_if_absent(key, data):
            return text, rows
        if version is not None and target.put_if_version(key, data, version):
            return text, rows
    raise RetryableStoreError(f"{target.url}/{key} keeps changing; try again")


def _stored(target: ObjectStore, key: str) -> tuple[str, str | None]:
    """Return the stored report and its version, or an empty text and None."""
    try:
        data, version = target.get_versioned(key)
    # Without the permission to list, a missing object looks like a forbidden one.
    except (ObjectNotFoundError, AccessDeniedError):
        return "", None
    return data.decode(errors="replace"), version


def _refuse_lost_controls(where: str, before: str, after: str) -> None:
    # Reports of earlier versions of this software have controls that are stored nowhere else.
    if lost := sorted(measured_controls(before) - measured_controls(after)):
        raise UserError(
            f"{where} has the row {lost[0]!r}, which an earlier version measured and stored "
            "nowhere else. Measure it again with --guidance and --config, or write this report to "
            "another place with --out"
        )


def _guidance_control(
    store: ObjectStore, manifest: Manifest, scores: ScoreTable, config: Config, guidance: float
) -> GuidanceControl:
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
    return GuidanceControl(
        guidance=guidance,
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
