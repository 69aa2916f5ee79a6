"""Heartbeats of builds that do not run."""

from pipeline.storage.heartbeats import Heartbeat, Phase


def heartbeat(plan_id: str, phase: Phase = Phase.COMPUTING, **fields: object) -> Heartbeat:
    """Return the heartbeat of a build that has run for ten minutes."""
    values = {
        "plan_id": plan_id,
        "build_id": "0a" * 16,
        "host": "node-1",
        "pid": 7,
        "seconds": 600.0,
        "phase": phase,
        "workers": 2,
        "workers_ready": 2,
        "units_in_flight": 3,
        **fields,
    }
    return Heartbeat.model_validate(values)
