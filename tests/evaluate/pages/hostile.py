"""Text that acts as markup, script, template or terminal command where it is not escaped."""

from dataclasses import replace
from pathlib import Path

from pipeline.core.fingerprint import fingerprint
from pipeline.core.records import Status
from pipeline.models.load import load_rewards
from pipeline.models.resolved_models import ResolvedModels
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.unit import produce_unit
from pipeline.storage.open import open_store
from pipeline.storage.worker_sums import RunSums, WorkerSums, put_run_sums
from pipeline.workflows.plan import plan_of, prompts_of
from tests.sealed import CPU, Built, changed, demo_models, write_config

SCRIPT = "<script>window.pwned=1</script>"
PROMPTS = [
    f"{SCRIPT} a red circle",
    f"</style></title></textarea>{SCRIPT}",
    f"</script>{SCRIPT}<!-- a comment",
    "<img src=x onerror=window.pwned=1><svg onload=window.pwned=1>",
    '" onmouseover="window.pwned=1" autofocus onfocus="window.pwned=1" x="',
    "[click](javascript:window.pwned=1) ![](http://example.invalid/x.png) <a href=javascript:x>",
    "{{ 7 * 7 }} {% for x in y %} ${window.pwned=1} `window.pwned=1`",
    "a blue square \u202egnp.exe \u2066 \x1b]0;title\x07\x1b[31m",
    "long" * 500,
]
"""Prompts of a data set. The last one has no place where a line could break."""


_JUDGE = {
    "kind": "custom",
    "entry": "brightness:Brightness",
    "code": str(Path(__file__).parents[3] / "examples" / "custom_judge"),
}
REWARDS = [
    # The margin keeps every pair, so that the page shows all prompts.
    {"name": "bright", "options": {"target": 0.3}, "margin": -10.0, **_JUDGE},
    {"name": "dark", "options": {"target": 0.1}, "select": False, **_JUDGE},
]
"""Judges that score any prompt. The judges of the demo score only those of its grammar."""


def build_hostile(folder: Path) -> Built:
    """Compute a plan with these prompts and with a model of such a name."""
    settings = changed(
        prompts={"seeds_per_prompt": 1},
        model={"name": SCRIPT},
        sampling={"num_inference_steps": 2},
        redenoise={"num_inference_steps": 4, "num_steps": 2},
        rewards=REWARDS,
        units={"size": 5},
    )
    config = write_config(folder, settings, prompts=PROMPTS)
    models = ResolvedModels(config)
    chosen = prompts_of(config, models)
    plan, table = plan_of(config, models, chosen)
    denoiser, _ = demo_models()
    rewards = load_rewards(models.rewards, CPU)
    units = tuple(
        produce_unit(
            list(table.candidates(plan, plan.unit_range(unit))),
            denoiser,
            rewards,
            BuildSpec.of(plan),
        )
        for unit in range(plan.num_units)
    )
    return Built(config=config, plan=plan, prompts=table, dropped=chosen.dropped, units=units)


def hostile_sums(plan_id: str) -> RunSums:
    """Return sums of a worker with such names and with numbers at the limits."""
    names = {"worker": f"{SCRIPT}\x1b[31m", "host": SCRIPT, "device": SCRIPT}
    worker = WorkerSums(
        units=2**63 - 1,
        candidates=2**63 - 1,
        judged=2**63 - 1,
        kept=1,
        compute_seconds=2.0**62,
        stage_seconds={SCRIPT: 2.0**62, "long" * 60: 5e-324, "sample": 1e-5, "upload": 1.0},
        **names,
    )
    return RunSums(plan_id=plan_id, build_id="0a" * 16, workers=(worker, worker))


def commit_half(built: Built, url: str) -> None:
    """Write all units but the last into a store, with a failure and a machine of such names."""
    first, *others = built.units
    failed = first.outcomes[0].model_copy(
        update={"status": Status.FAILED, "reason": f"error:{SCRIPT}"}
    )
    changed_units = (replace(first, outcomes=(failed, *first.outcomes[1:])), *others)
    store = open_store(url)
    put_run_sums(store, hostile_sums(built.plan.plan_id))
    replace(built, units=changed_units).commit(
        store,
        skip=(len(built.units) - 1,),
        host=f"{SCRIPT}\x1b[31m",
        started="2026-01-01T00:00:00+00:00",
        errors={0: f"Traceback\nValueError: {SCRIPT}"},
        fingerprint=fingerprint(CPU).model_copy(update={"device": SCRIPT}),
    )
