"""Tables of a plan's page: funnel, failures and provenance."""

from collections.abc import Iterator

from pipeline.config.plan import Plan
from pipeline.core.identity import short
from pipeline.evaluate.document import Table
from pipeline.evaluate.proposals import describe_proposers
from pipeline.evaluate.set_page.run_record import RunRecord
from pipeline.storage.manifest import Funnel, Manifest

_MOST_REASONS = 30
_REASON_CHARACTERS = 200
_MOST_FINGERPRINTS = 10


def funnel_table(plan: Plan, funnel: Funnel) -> Table:
    """Return the numbers of prompts and candidates, and what became of them."""

    def share(count: int) -> str:
        return f"{count / funnel.candidates:.1%}" if funnel.candidates else ""

    prompts = plan.prompt_funnel
    rows: list[list[str]] = []
    if prompts.rows:
        rows.append(["prompts read", f"{prompts.rows:,}", ""])
        rows += [[f"dropped, {why.value}", f"{n:,}", ""] for why, n in prompts.dropped.items()]
    rows.append(["prompts", f"{plan.num_prompts:,}", ""])
    rows.append(["candidates planned", f"{plan.num_candidates:,}", ""])
    rows.append(["candidates done", f"{funnel.candidates:,}", share(funnel.candidates)])
    if funnel.judged is not None:
        rows.append(["judged", f"{funnel.judged:,}", share(funnel.judged)])
    rows.append(["kept", f"{funnel.kept:,}", share(funnel.kept)])
    if funnel.judged is not None:
        rows.append(["not judged, stored", f"{funnel.unjudged:,}", share(funnel.unjudged)])
    for verb, reasons in (("rejected", funnel.rejected), ("failed", funnel.failed)):
        ranked = sorted(reasons.items(), key=lambda item: -item[1])
        rows += [
            [f"{verb}, {why[:_REASON_CHARACTERS]}", f"{n:,}", share(n)]
            for why, n in ranked[:_MOST_REASONS]
        ]
        if rest := sum(n for _, n in ranked[_MOST_REASONS:]):
            rows.append([f"{verb}, for other reasons", f"{rest:,}", share(rest)])
    rows.append(["prompt truncated", f"{funnel.truncated:,}", share(funnel.truncated)])
    return Table(["step", "number", "share of candidates done"], rows)


def failures_table(record: RunRecord) -> Table | None:
    """Return the failures by reason with one error of each; None if nothing failed."""
    rows = [
        [reason[:_REASON_CHARACTERS], f"{count:,}", record.examples.get(reason, "no message")]
        for reason, count in record.failures.most_common(_MOST_REASONS)
    ]
    return Table(["reason", "candidates", "last line of one error"], rows) if rows else None


def provenance_table(plan: Plan, manifest: Manifest | None, record: RunRecord, url: str) -> Table:
    """Return where the data set is, and what decided its content."""
    return Table(["property", "value"], [[*row] for row in _rows(plan, manifest, record, url)])


def _rows(
    plan: Plan, manifest: Manifest | None, record: RunRecord, url: str
) -> Iterator[tuple[str, str]]:
    settings = plan.settings
    yield "store", url
    yield "plan", plan.plan_id
    if manifest is not None:
        yield "version", str(manifest.version)
        margins = (
            f"golden {name} > source {name} + {margin:g}"
            for name, margin in manifest.selection.items()
        )
        yield f"kept where ({plan.rule})", "; ".join(margins)
    yield "model", settings.model.name
    if settings.model.digest is not None:
        yield "digest of the model", settings.model.digest
    sampling = settings.sampling
    yield (
        "sampling",
        f"{sampling.num_inference_steps} steps at guidance {sampling.guidance_scale:g}",
    )
    yield "golden noise", describe_proposers(plan)
    for reward in settings.rewards:
        role = "selects" if reward.select else "selects nothing"
        digest = "" if reward.digest is None else f", {short(reward.digest)}"
        yield f"reward {reward.name}", f"{reward.kind}, {role}{digest}"
    yield "seeds", f"{plan.seeds_per_prompt} per prompt, root seed {plan.root_seed}"
    yield "prompts", plan.prompts_sha256
    yield "schema version", str(plan.schema_version)
    yield "algorithm version", str(plan.algorithm_version)
    found = manifest.fingerprints if manifest is not None else [*record.fingerprints.values()]
    for each in found[:_MOST_FINGERPRINTS]:
        packages = ", ".join(f"{name} {version}" for name, version in each.packages.items())
        yield f"computed on {each.device}", f"{each.kernels}, Python {each.python}, {packages}"
    if len(found) > _MOST_FINGERPRINTS:
        yield "computed on", f"{len(found) - _MOST_FINGERPRINTS} further devices or versions"
