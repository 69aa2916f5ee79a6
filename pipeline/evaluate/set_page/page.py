"""Page of one plan of a data set, sealed or still being built."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config.plan import Plan
from pipeline.core.quantities import counted
from pipeline.evaluate.compare import Gain, Mask, Values, compare
from pipeline.evaluate.document import percent, signed
from pipeline.evaluate.examples import shown_reward
from pipeline.evaluate.judged_sample import about_unjudged
from pipeline.evaluate.pages.charts import Chart, distributions, histogram
from pipeline.evaluate.pages.figures import HeadlineNumber
from pipeline.evaluate.pages.forest import ForestPlot, forest_plot
from pipeline.evaluate.pages.pictures import LARGEST
from pipeline.evaluate.pages.render import render
from pipeline.evaluate.proposals import describe_proposers
from pipeline.evaluate.report import (
    ABOUT_KEPT,
    ReportRow,
    about_candidates,
    candidate_rows,
    gain_table,
    kept_rows,
)
from pipeline.evaluate.scores import ScoreTable
from pipeline.evaluate.set_page.costs import cost_sentences
from pipeline.evaluate.set_page.noise import noise_charts
from pipeline.evaluate.set_page.pairs import (
    PairReader,
    ShownPair,
    choose_pairs,
    shown_pairs,
)
from pipeline.evaluate.set_page.progress import last_end, progress_of
from pipeline.evaluate.set_page.provenance import failures_table, funnel_table, provenance_table
from pipeline.evaluate.set_page.run_record import RunRecord
from pipeline.evaluate.set_page.workers import work_of
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.manifest import Funnel, Manifest
from pipeline.storage.worker_sums import WorkerSums

_MOST_CATEGORIES = 30


@dataclass(frozen=True, kw_only=True)
class SetContent:
    """Everything that the page of one plan is made from."""

    url: str
    plan: Plan
    manifest: Manifest | None
    """Sealed version of the page; None while the plan is built."""
    prompts: PromptTable
    scores: ScoreTable
    record: RunRecord
    workers: Sequence[WorkerSums]
    """Sums of the workers of each build that wrote them."""
    controls: Sequence[ReportRow]
    """Controls that were measured with the models."""
    reader: PairReader | None
    """Reader of the pictures; None if the data set stores none."""
    categories: Mapping[str, Sequence[str]]
    """Maps prompts to their categories, if they have any."""
    price: float | None
    """Price of one worker per hour, or None."""

    @property
    def funnel(self) -> Funnel:
        """Counts of the candidates that are done."""
        return self.record.funnel if self.manifest is None else self.manifest.funnel

    @property
    def judge(self) -> str:
        """Name of the reward that ranks the pairs."""
        return shown_reward(self.plan)


@dataclass(frozen=True, kw_only=True)
class RewardGains:
    """Gains under one reward."""

    heading: str
    plot: ForestPlot


def set_page(content: SetContent) -> str:
    """Return the page as HTML. Raises ``VerificationError`` if a shown pair is damaged."""
    plan, scores = content.plan, content.scores
    has_scores = bool(scores.judged().any())
    rows = candidate_rows(plan, scores, content.controls) if has_scores else []
    kept = kept_rows(plan, scores) if has_scores else []
    chosen = choose_pairs(scores, content.judge, scores.kept)
    groups = {
        f"Largest gains under {content.judge}": chosen.gains,
        f"Largest losses under {content.judge}": chosen.losses,
        "Random pairs": chosen.random,
    }
    pairs = shown_pairs(plan, content.prompts, scores, groups, content.categories, content.reader)
    return render(
        "set.html.j2",
        has_filter=bool(pairs),
        plan=plan,
        state=_state(content),
        is_sealed=content.manifest is not None,
        figures=list(_figures(content)),
        about_candidates=about_candidates(plan),
        about_kept=ABOUT_KEPT,
        about_unjudged=about_unjudged(content.funnel, scores),
        gains=[*_gains(content, rows, kept)],
        gains_table=gain_table(rows, plan.reward_names) if rows else None,
        kept_table=gain_table(kept, plan.reward_names) if kept else None,
        categories=_category_gains(content),
        funnel=funnel_table(plan, content.funnel),
        distributions=list(_distributions(scores)),
        noise=noise_charts(plan, scores, _latent_shape(content)),
        progress=progress_of(content.record),
        work=work_of(content.workers, content.record),
        failures=failures_table(content.record),
        costs=list(cost_sentences(content.record, content.funnel, content.price)),
        groups=groups,
        pairs=pairs,
        num_kept=int(scores.kept.sum()),
        pictures=_about_pictures(content, pairs),
        pair_categories=sorted({c for pair in pairs for c in pair.categories.split("\n") if c}),
        provenance=provenance_table(content.plan, content.manifest, content.record, content.url),
        proposers=describe_proposers(plan),
    )


def _state(content: SetContent) -> str:
    """Return a sentence on the progress of the build."""
    record, manifest = content.record, content.manifest
    end = last_end(record.units)
    when = "" if end is None else f" The last unit ended at {end}, by the clock of its machine."
    if manifest is not None:
        return f"Sealed, version {manifest.version}.{when}"
    return (
        f"Not sealed: {len(record.units):,} of {counted(record.num_units, 'unit')} done. "
        f"All figures are those of the finished units.{when}"
    )


def _figures(content: SetContent) -> Iterator[HeadlineNumber]:
    funnel, scores, judge = content.funnel, content.scores, content.judge
    gain = compare(scores.source[judge], scores.golden[judge], scores.prompt_ids, scores.judged())
    if gain is not None:
        sign = ("good" if gain.gain.value > 0 else "bad") if gain.gain.excludes_zero else ""
        yield HeadlineNumber(
            value=signed(gain.gain), about=f"mean gain of all candidates, {judge}", sign=sign
        )
        yield HeadlineNumber(value=percent(gain.wins), about="of candidates won, ties count half")
    yield HeadlineNumber(value=f"{funnel.kept:,}", about="pairs kept")
    judged = "candidate" if funnel.judged is None else "judged candidate"
    yield HeadlineNumber(
        value=f"{funnel.kept_rate:.1%}", about=f"of {counted(funnel.num_judged, judged)} kept"
    )
    if funnel.unjudged:
        yield HeadlineNumber(value=f"{funnel.unjudged:,}", about="pairs stored without judging")


def _gains(
    content: SetContent, rows: Sequence[ReportRow], kept: Sequence[ReportRow]
) -> Iterator[RewardGains]:
    """Yield the gains under each reward, those of the judge first."""
    names = content.plan.reward_names
    selecting = {reward.name for reward in content.plan.settings.rewards if reward.select}
    for name in sorted(names, key=lambda name: name != content.judge):
        role = "selects the pairs" if name in selecting else "selects nothing"
        for heading, group in (
            (f"All candidates under {name}, which {role}", rows),
            (f"Kept pairs under {name}", kept),
        ):
            found = [
                (f"{row.name} ({row.evaluations:,})", gain.gain)
                for row in group
                if (gain := row.gains[name]) is not None
            ]
            if found:
                yield RewardGains(heading=heading, plot=forest_plot(found, f"gain under {name}"))


def _category_gains(content: SetContent) -> ForestPlot | None:
    """Return the gain of golden noise for each category of prompts, the most frequent first."""
    plan, scores, judge = content.plan, content.scores, content.judge
    of_prompts = [content.categories.get(prompt, ()) for prompt in content.prompts.prompts]
    counts: dict[str, int] = {}
    for names in of_prompts:
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    rows = []
    for category in sorted(counts, key=lambda name: (-counts[name], name))[:_MOST_CATEGORIES]:
        mask = np.repeat([category in names for names in of_prompts], plan.seeds_per_prompt)
        gain = _golden(scores, judge, mask)
        if gain is not None:
            rows.append((f"{category} ({counted(gain.num_pairs, 'candidate')})", gain.gain))
    return forest_plot(rows, f"gain under {judge}") if rows else None


def _golden(scores: ScoreTable, reward: str, mask: Mask) -> Gain | None:
    return compare(
        scores.source[reward], scores.golden[reward], scores.prompt_ids, mask & scores.judged()
    )


def _distributions(scores: ScoreTable) -> Iterator[Chart]:
    """Yield the scores and the gains of all judged candidates under each reward."""
    judged = scores.judged()
    if not judged.any():
        return
    for name in scores.source:
        source: Values = scores.source[name][judged]
        golden: Values = scores.golden[name][judged]
        yield distributions(
            [("standard image", source), ("golden image", golden)], f"score under {name}"
        )
        yield histogram(golden - source, f"gain under {name}", counted="candidates")


def _latent_shape(content: SetContent) -> Sequence[int]:
    if content.manifest is not None:
        return content.manifest.latent_shape
    return content.record.latent_shape


def _about_pictures(content: SetContent, pairs: Sequence[ShownPair]) -> str:
    if content.reader is None:
        return "The data set stores no images, so scores are shown alone."
    text = f"Pictures are scaled down to at most {LARGEST} pixels."
    missing = sum(not pair.tiles for pair in pairs)
    if missing:
        text += f" Without a picture, because reading all would take too long: {missing:,}."
    return text
