"""Panels of the dashboard of a build. Each row answers one question of its operator."""

from dataclasses import dataclass
from typing import Literal

PLAN = 'plan=~"$plan"'
"""Filter of every query; the dashboard has a list of plans."""

WINDOW = "$__rate_interval"


@dataclass(frozen=True, kw_only=True)
class Query:
    """Query of a panel."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Panel with its queries."""

    title: str
    unit: str
    """Grafana's name of the unit."""
    queries: tuple[Query, ...]
    kind: Literal["stat", "timeseries"] = "timeseries"
    description: str = ""


def _rate(name: str, by: str, labels: str = "") -> str:
    matchers = ", ".join(filter(None, [PLAN, labels]))
    return f"sum by ({by}) (rate(ray_npd_{name}_total{{{matchers}}}[{WINDOW}]))"


def _gauge(name: str, by: str, function: str = "max", labels: str = "") -> str:
    matchers = ", ".join(filter(None, [PLAN, labels]))
    return f"{function} by ({by}) (ray_npd_{name}{{{matchers}}})"


def _total(name: str, by: str) -> str:
    # The last value of each series in the range of the dashboard, also of drivers that have ended:
    # a build that resumes starts new series.
    return f"sum by ({by}) (last_over_time(ray_npd_{name}_total{{{PLAN}}}[$__range]))"


def _time(title: str, unit: str, *queries: tuple[str, str], description: str = "") -> Panel:
    made = tuple(Query(expression=expression, legend=legend) for expression, legend in queries)
    return Panel(title=title, unit=unit, queries=made, description=description)


def _stat(title: str, unit: str, expression: str, description: str = "") -> Panel:
    return Panel(
        title=title,
        unit=unit,
        queries=(Query(expression=expression, legend="{{plan}}"),),
        kind="stat",
        description=description,
    )


_LEFT = f'sum by (plan) (max by (plan, state) (ray_npd_units{{{PLAN}, state!="done"}}))'
_GAIN = "plan, reward, role, status"

ROWS: dict[str, tuple[Panel, ...]] = {
    "Is it alive, how far is it?": (
        _stat(
            "Done",
            "percentunit",
            _gauge("units", "plan", labels='state="done"')
            + " / "
            + f"sum by (plan) ({_gauge('units', 'plan, state')})",
        ),
        _stat(
            "Time left",
            "s",
            f"{_LEFT} / clamp_min(deriv("
            f'max by (plan) (ray_npd_units{{{PLAN}, state="done"}})'
            "[30m:30s]), 1e-9)",
            "From the units of the last 30 minutes",
        ),
        _stat("Last commit", "s", _gauge("seconds_without_commit", "plan", "min")),
        _stat("Ready workers", "short", _gauge("workers", "plan", labels='state="ready"')),
        _time("Units", "short", (_gauge("units", "state"), "{{state}}")),
        _time("Candidates per second", "ops", (_rate("candidates", "status"), "{{status}}")),
        _time("Workers", "short", (_gauge("workers", "state"), "{{state}}")),
        _time(
            "Longest stall of a worker",
            "s",
            (_gauge("worker_stall_seconds", "plan"), "{{plan}}"),
        ),
    ),
    "How good is it?": (
        _time(
            "Keep rate",
            "percentunit",
            (f"npd:keep_rate:recent{{{PLAN}}}", "last hour"),
            (f"npd:keep_rate:so_far{{{PLAN}}}", "so far"),
        ),
        _time(
            "Outcomes by reason",
            "ops",
            (_rate("candidates", "status, reason"), "{{status}} {{reason}}"),
        ),
        _time(
            "Mean gain",
            "short",
            (
                f"({_rate('reward_gain', _GAIN)} - {_rate('reward_loss', _GAIN)})"
                f" / {_rate('reward_scored', _GAIN)}",
                "{{reward}} ({{role}}, {{status}})",
            ),
            description="Golden minus source. A judge selects nothing, so its gain on kept pairs is"
            " the one to trust",
        ),
        _time(
            "Judges on kept pairs, last hour",
            "short",
            (f"npd:judge_gain:recent{{{PLAN}}}", "{{reward}}"),
            (
                f"npd:judge_gain:recent{{{PLAN}}} - 2 * npd:judge_gain_error:recent{{{PLAN}}}",
                "{{reward}} low",
            ),
            (
                f"npd:judge_gain:recent{{{PLAN}}} + 2 * npd:judge_gain_error:recent{{{PLAN}}}",
                "{{reward}} high",
            ),
        ),
        _time(
            "Wins",
            "percentunit",
            (
                f"{_rate('reward_wins', _GAIN)} / {_rate('reward_scored', _GAIN)}",
                "{{reward}} ({{role}}, {{status}})",
            ),
        ),
        _time(
            "Keep rate by worker",
            "percentunit",
            (
                _rate("worker_candidates", "NodeAddress, WorkerId", 'status="kept"')
                + " / "
                + _rate("worker_candidates", "NodeAddress, WorkerId", 'status!="unjudged"'),
                "{{NodeAddress}} {{WorkerId}}",
            ),
            description="A worker that differs from the others may have a broken GPU",
        ),
    ),
    "What does it cost?": (
        _stat("Cost so far", "short", _total("cost", "plan"), "In the currency of the price"),
        _stat("GPU-seconds", "s", _total("gpu_seconds", "plan")),
        _stat("Evaluations", "short", _total("forward_evaluations", "plan")),
        _stat("Kept", "percentunit", f"npd:keep_rate:so_far{{{PLAN}}}"),
        _time(
            "Stage seconds per candidate",
            "s",
            (
                f"{_rate('stage_seconds', 'plan, stage')} / on (plan) group_left "
                f"{_rate('worker_candidates', 'plan')}",
                "{{stage}}",
            ),
        ),
        _time(
            "Evaluations per second",
            "ops",
            (_rate("forward_evaluations", "plan"), "{{plan}}"),
        ),
        _time(
            "Share of time without work",
            "percentunit",
            (_rate("worker_idle_seconds", "NodeAddress, WorkerId"), "{{NodeAddress}} {{WorkerId}}"),
        ),
        _time(
            "Steps per second",
            "ops",
            (_rate("worker_steps", "NodeAddress, WorkerId"), "{{NodeAddress}} {{WorkerId}}"),
        ),
    ),
    "What failed?": (
        _time("Failed attempts", "short", (_total("failed_attempts", "fault"), "{{fault}}")),
        _time("Replaced workers", "short", (_total("replaced_workers", "reason"), "{{reason}}")),
        _time(
            "Units with a problem",
            "short",
            (_total("disagreements", "plan"), "two results"),
            (_total("bisections", "plan"), "bisected"),
            (_total("late_units", "plan"), "late"),
        ),
        _time(
            "Requests to the store",
            "ops",
            (_rate("store_requests", "result"), "{{result}}"),
            (_rate("store_retries", "plan"), "retries"),
            (_rate("commit_retries", "plan"), "repeated commits"),
        ),
        _time(
            "Uploads",
            "short",
            (_gauge("uploads_pending", "plan", "sum"), "pending"),
            (_gauge("upload_lag_seconds", "plan"), "oldest, seconds"),
        ),
        _time(
            "Memory of processes",
            "bytes",
            (_gauge("process_memory_bytes", "process, NodeAddress"), "{{process}} {{NodeAddress}}"),
        ),
        _time(
            "Memory of GPUs",
            "bytes",
            (_gauge("gpu_memory_bytes", "kind"), "{{kind}}"),
            description="Of the worker that uses most; empty on CPUs",
        ),
    ),
}


def panels() -> list[Panel]:
    """Return all panels."""
    return [panel for row in ROWS.values() for panel in row]
