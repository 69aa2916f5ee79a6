"""Selection with other margins, from the scores in the receipts; no model is needed.

The rule, the weights and the gate are those of the plan. The choice among several proposals is not
repeated, because only the winner's pair is stored.
"""

from collections.abc import Mapping
from math import prod
from typing import TypeVar

from pipeline.config.plan import Plan
from pipeline.core.records import LosingProposal, Outcome, Status
from pipeline.stages.select import NOT_CONVERGED, ImageScores, Judged, ScoreRule, Selection
from pipeline.storage.receipts import Receipt

_Decided = TypeVar("_Decided", Outcome, LosingProposal)


class Reselection:
    """Selection of a plan's candidates with the given margins."""

    def __init__(self, plan: Plan, margins: Mapping[str, float]) -> None:
        self._rule = ScoreRule.of(plan, dict(margins))
        self._is_of_plan = self._rule.margins == plan.margins
        self._gate = plan.settings.gate

    def of(self, receipt: Receipt) -> Receipt:
        """Return the receipt with new decisions, or unchanged if the margins are the plan's."""
        # The build has already decided with these margins.
        if self._is_of_plan:
            return receipt
        selection = Selection(
            rule=self._rule, gate=self._gate, num_values=prod(receipt.latent_shape)
        )
        outcomes = tuple(decide_again(outcome, selection) for outcome in receipt.outcomes)
        return receipt.model_copy(update={"outcomes": outcomes})


def decide_again(outcome: Outcome, selection: Selection) -> Outcome:
    """Return an outcome, with its losing proposals, as another selection decides it.

    Candidates that failed, were not judged, or whose inversion did not converge, keep their status.
    """
    if not outcome.judged:
        return outcome
    losing = tuple(
        _decided(proposal, outcome.source_rewards, selection)
        for proposal in outcome.losing_proposals
    )
    again = _decided(outcome, outcome.source_rewards, selection)
    return again.model_copy(update={"losing_proposals": losing})


def _decided(one: _Decided, source_rewards: ImageScores, selection: Selection) -> _Decided:
    # These were decided before any margin was compared.
    if one.status is Status.FAILED or one.reason == NOT_CONVERGED:
        return one
    judged = Judged(
        noise_stats=one.noise_stats,
        converged=True,
        images_finite=True,
        source_rewards=source_rewards,
        golden_rewards=one.golden_rewards,
    )
    status, reason = selection.decide(judged)
    return one.model_copy(update={"status": status, "reason": reason})
