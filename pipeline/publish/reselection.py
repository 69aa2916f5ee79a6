"""Deciding anew, with other margins, from the scores that receipts hold: no model is needed."""

from collections.abc import Mapping
from math import prod

from pipeline.config import GateConfig
from pipeline.plan import Plan
from pipeline.records import Outcome, Status
from pipeline.stages.select import NOT_CONVERGED, Judged, Selection
from pipeline.storage.receipts import Receipt


class Reselection:
    """What becomes of a plan's candidates under other margins; the gate stays the plan's."""

    def __init__(self, plan: Plan, margins: Mapping[str, float]) -> None:
        self._margins = dict(margins)
        self._is_of_plan = self._margins == plan.margins
        self._gate = GateConfig(**plan.settings["gate"])

    def of(self, receipt: Receipt) -> Receipt:
        """The receipt with its outcomes decided anew; under the plan's own margins as it is."""
        if self._is_of_plan:
            return receipt
        selection = Selection(
            margins=self._margins, gate=self._gate, num_values=prod(receipt.latent_shape)
        )
        outcomes = tuple(decide_again(outcome, selection) for outcome in receipt.outcomes)
        return receipt.model_copy(update={"outcomes": outcomes})


def decide_again(outcome: Outcome, selection: Selection) -> Outcome:
    """An outcome under another selection.

    What failed, or was rejected before scores were looked at, stays so.
    """
    if outcome.status is Status.FAILED or outcome.reason == NOT_CONVERGED:
        return outcome
    judged = Judged(
        noise_stats=outcome.noise_stats,
        converged=True,
        images_finite=True,
        source_rewards=outcome.source_rewards,
        golden_rewards=outcome.golden_rewards,
    )
    status, reason = selection.decide(judged)
    return outcome.model_copy(update={"status": status, "reason": reason})
