"""Rules of Prometheus: what is recorded for the dashboard, and when somebody is called."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Limits of the alerts. Times are in Prometheus' notation, such as ``30m``."""

    window: str = "1h"
    """Time over which recent rates are taken."""
    keep_rate_errors: float = 6.0
    """Largest distance of the recent keep rate from that of the build so far, in standard errors.
    Candidates of one prompt are alike, so errors are larger than those of independent draws."""
    min_candidates: int = 500
    """Number of recent candidates below which no rate is judged."""
    judge_errors: float = 2.0
    """Number of standard errors by which the mean gain of a judge is below 0."""
    min_judged: int = 100
    """Number of recent kept pairs below which no judge is judged."""
    no_commit_seconds: float = 1800.0
    """More than the slowest unit takes."""
    stall_seconds: float = 300.0
    """Below ``[cluster] hang_seconds``, after which the driver replaces the worker."""
    replaced_workers: int = 3
    """Number of workers lost to errors in one window. Spot notices do not count."""
    store_error_share: float = 0.05
    """Share of failed requests, in one window and in its last twelfth."""
    store_window: str = "5m"
    vanished_for: str = "5m"
    """Time for which a build that is not done sends nothing. It outlasts a restart of the head."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alert."""

    name: str
    expression: str
    severity: str
    """``critical``: the build does not progress, or its data are wrong. ``warning``: look today."""
    summary: str
    action: str
    """Action for a person."""
    wait: str = "0s"
    """Time for which the expression must hold."""


def recorded(limits: Thresholds) -> dict[str, str]:
    """Map the name of each recorded series to its expression."""
    window = limits.window
    judged = 'role="judge", status="kept"'

    def recent(name: str, labels: str = "") -> str:
        return f"sum by (plan) (increase(ray_npd_{name}_total{{{labels}}}[{window}]))"

    def of_judge(name: str) -> str:
        return recent(name, judged).replace("(plan)", "(plan, reward)")

    gain, loss = of_judge("reward_gain"), of_judge("reward_loss")
    return {
        "npd:candidates:recent": recent("candidates", 'status!="unjudged"'),
        "npd:keep_rate:recent": recent("candidates", 'status="kept"') + " / npd:candidates:recent",
        "npd:keep_rate:so_far": 'sum by (plan) (ray_npd_candidates_total{status="kept"})'
        ' / (sum by (plan) (ray_npd_candidates_total{status!="unjudged"}) >= 1)',
        "npd:judged:recent": of_judge("reward_scored"),
        "npd:judge_gain:recent": f"({gain} - {loss}) / npd:judged:recent",
        "npd:judge_gain_error:recent": "sqrt(clamp_min("
        f"{of_judge('reward_gain_squares')} / npd:judged:recent - npd:judge_gain:recent ^ 2, 0)"
        " / npd:judged:recent)",
    }


def alerts(limits: Thresholds) -> list[Alert]:
    """Return all alerts."""
    failed = 'result=~"throttled|server_error|no_reply"'

    def failed_share(window: str) -> str:
        return (
            f"sum by (plan) (rate(ray_npd_store_requests_total{{{failed}}}[{window}]))"
            f" / sum by (plan) (rate(ray_npd_store_requests_total[{window}]))"
            f" > {limits.store_error_share}"
        )

    return [
        Alert(
            name="NpdNoCommit",
            # The smallest, because one of two drivers of a plan may be the idle one.
            expression="min by (plan) (ray_npd_seconds_without_commit)"
            f" > {limits.no_commit_seconds}",
            severity="critical",
            summary="No unit of plan {{ $labels.plan }} was done for "
            "{{ $value | humanizeDuration }}",
            action="Run `npd status`. Look for workers that wait for GPUs, and for store errors.",
        ),
        Alert(
            name="NpdWorkerStalled",
            expression=f"max by (plan) (ray_npd_worker_stall_seconds) > {limits.stall_seconds}",
            severity="warning",
            summary="A worker of plan {{ $labels.plan }} has made no step for "
            "{{ $value | humanizeDuration }}",
            action="The driver replaces it after `[cluster] hang_seconds`. If it happens again on "
            "the same machine, remove that machine.",
        ),
        Alert(
            name="NpdBuildVanished",
            expression="(sum by (plan) (last_over_time("
            f'ray_npd_units{{state!="done"}}[{limits.window}])) > 0)'
            " unless sum by (plan) (ray_npd_units)",
            severity="critical",
            summary="The driver of plan {{ $labels.plan }} is gone and its plan is not done",
            action="Run the same command again; it resumes. Ignore this if you stopped the build.",
            wait=limits.vanished_for,
        ),
        Alert(
            name="NpdKeepRateDrift",
            # The variance has a floor, for builds that keep all candidates or none.
            expression="abs(npd:keep_rate:recent - npd:keep_rate:so_far)"
            f" > {limits.keep_rate_errors} * sqrt("
            "clamp_min(npd:keep_rate:so_far * (1 - npd:keep_rate:so_far), 0.01)"
            " / npd:candidates:recent)"
            f" and npd:candidates:recent >= {limits.min_candidates}",
            severity="warning",
            summary="The keep rate of plan {{ $labels.plan }} has moved by "
            "{{ $value | humanizePercentage }}",
            action="Compare the keep rates of the workers on the dashboard. One that differs has a "
            "broken GPU. If all moved, the prompts have changed in kind.",
        ),
        Alert(
            name="NpdJudgeNegative",
            expression="npd:judge_gain:recent"
            f" + {limits.judge_errors} * npd:judge_gain_error:recent < 0"
            f" and npd:judged:recent >= {limits.min_judged}",
            severity="warning",
            summary="Judge {{ $labels.reward }} of plan {{ $labels.plan }} prefers the source "
            "images of kept pairs",
            action="Golden noise gains under the selecting rewards only. Look at pairs with "
            "`npd report` before you spend more.",
        ),
        Alert(
            name="NpdDisagreements",
            # At least 1, because a counter that was just made is not exactly 0.
            expression="sum by (plan) (ray_npd_disagreements_total) >= 1",
            severity="warning",
            summary="{{ $value }} units of plan {{ $labels.plan }} gave two different results",
            action="`npd verify` lists both. Use one type of GPU and one image on all machines.",
        ),
        Alert(
            name="NpdWorkersReplaced",
            expression="sum by (plan) (increase("
            f'ray_npd_replaced_workers_total{{reason!="left"}}[{limits.window}]))'
            f" > {limits.replaced_workers}",
            severity="warning",
            summary="{{ $value | humanize }} workers of plan {{ $labels.plan }} were replaced",
            action="The panel of replaced workers shows the reason, and the log of the driver the "
            "error.",
        ),
        Alert(
            name="NpdStoreErrors",
            # Both windows: the long one shows that it matters, the short one that it goes on.
            expression=f"({failed_share(limits.window)}) and ({failed_share(limits.store_window)})",
            severity="warning",
            summary="{{ $value | humanizePercentage }} of the requests to the store fail "
            "(plan {{ $labels.plan }})",
            action="The panel of requests shows the kind of error. Throttled: use fewer workers or "
            "ask for a higher limit. A commit is repeated for 5 minutes.",
        ),
    ]


def rule_groups(limits: Thresholds) -> dict[str, Any]:
    """Return the content of a rule file of Prometheus."""
    records = [
        {"record": name, "expr": expression} for name, expression in recorded(limits).items()
    ]
    # One group: its rules are evaluated in order, so an alert sees what was just recorded.
    rules = [*records, *(_rule(alert) for alert in alerts(limits))]
    return {"groups": [{"name": "npd", "rules": rules}]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "action": alert.action},
    }
