"""What a judged sample tells of the pairs that were not judged."""

from pipeline.evaluate.compare import Estimate, mean
from pipeline.evaluate.scores import ScoreTable
from pipeline.storage.manifest import Funnel


def expected_wins(scores: ScoreTable) -> Estimate | None:
    """Return the share of unjudged pairs that would be kept, if their images were scored.

    The sample is random. The share is therefore that of the judged candidates whose golden noise is
    within the gate, as it is for all unjudged pairs. The interval is over prompts. Returns None
    without such candidates.
    """
    within = scores.within_gate & scores.sampled
    if not within.any():
        return None
    return mean(scores.kept[within].astype(float), scores.prompt_ids[within])


def about_unjudged(funnel: Funnel, scores: ScoreTable) -> str | None:
    """Return a paragraph on the pairs that were not judged; None if there are none."""
    if not funnel.unjudged:
        return None
    text = f"{funnel.unjudged:,} of {funnel.in_shards:,} pairs were not judged."
    share = expected_wins(scores)
    if share is None:
        return f"{text} No candidate of the sample is within the gate, so nothing is known of them."
    low, high = (round(funnel.unjudged * each) for each in (share.low, share.high))
    return (
        f"{text} {share.low:.1%} to {share.high:.1%} of them ({low:,} to {high:,}) are expected to "
        f"win: {share.value:.1%} of the judged candidates within the gate did. All gains are those "
        f"of the {funnel.num_judged:,} judged candidates, a random sample."
    )
