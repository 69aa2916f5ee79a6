"""Reading and writing of plans and their prompts in a store."""

from pydantic import ValidationError

from pipeline.config.plan import Plan
from pipeline.core.errors import PlanConflictError, VerificationError
from pipeline.core.validation import explain
from pipeline.storage import layout
from pipeline.storage.formats.pairs import UNREADABLE
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.object_store import MAX_RECORD_BYTES, MAX_TABLE_BYTES, ObjectStore


def write_plan(
    store: ObjectStore, plan: Plan, table: PromptTable, dropped: bytes | None = None
) -> Plan:
    """Store a plan unless it exists, and return the stored plan.

    ``dropped`` is the list of dropped prompts. It is stored if the plan's funnel names one. An
    existing plan keeps its list, because dropped prompts are not part of a plan's identity.

    Raises ``PlanConflictError`` if the store has other prompts under this plan id.
    """
    if (
        not store.put_if_absent(layout.prompts_key(plan.plan_id), table.to_bytes())
        # Another version of pyarrow may have written the same prompts in other bytes.
        and read_prompt_table(store, plan.plan_id).sha256() != plan.prompts_sha256
    ):
        raise PlanConflictError(f"{store.url}: plan {plan.plan_id} is there with other prompts")
    key = dropped_key_of(plan)
    if key is not None and dropped is not None:
        store.put_if_absent(key, dropped)
    # The plan comes last: once it is visible, the objects that it refers to are in the store.
    store.put_if_absent(layout.plan_key(plan.plan_id), plan_bytes(plan))
    return read_plan(store, plan.plan_id)


def plan_bytes(plan: Plan) -> bytes:
    """Serialize a plan for storage."""
    return plan.model_dump_json(indent=2).encode() + b"\n"


def read_plan(store: ObjectStore, plan_id: str) -> Plan:
    """Read a stored plan.

    Raises ``ObjectNotFoundError``, and ``VerificationError`` if it is damaged.
    """
    key = layout.plan_key(plan_id)
    data = store.get(key, MAX_RECORD_BYTES)
    try:
        plan = Plan.model_validate_json(data)
    except ValidationError as error:
        raise VerificationError(f"{store.url}/{key}: no plan: {explain(error)}") from None
    if plan.plan_id != plan_id:
        raise VerificationError(f"{store.url}/{key}: the plan {plan.plan_id}")
    return plan


def read_prompt_table(store: ObjectStore, plan_id: str) -> PromptTable:
    """Read the stored prompts.

    Raises ``ObjectNotFoundError``, and ``VerificationError`` if they are damaged.
    """
    key = layout.prompts_key(plan_id)
    data = store.get(key, MAX_TABLE_BYTES)
    try:
        return PromptTable.parse(data)
    except UNREADABLE as error:
        raise VerificationError(f"{store.url}/{key}: no prompts: {error}") from None


def read_prompts(store: ObjectStore, plan: Plan) -> PromptTable:
    """Read the stored prompts of a plan and check them against it.

    Raises ``ObjectNotFoundError``, and ``VerificationError`` for other prompts.
    """
    table = read_prompt_table(store, plan.plan_id)
    if not table.is_of(plan):
        raise VerificationError(
            f"{store.url}/{layout.prompts_key(plan.plan_id)}: not the prompts of the plan; "
            "`npd repair` makes them again"
        )
    return table


def dropped_key_of(plan: Plan) -> str | None:
    """Return the key of the plan's list of dropped prompts, or None if none was dropped."""
    digest = plan.prompt_funnel.dropped_sha256
    return None if digest is None else layout.dropped_key(plan.plan_id, digest)


def stored_plans(store: ObjectStore) -> list[str]:
    """Return the ids of all plans in the store, sorted. Foreign files are ignored."""
    places = ((info.key, layout.place_of(info.key)) for info in store.list("plans/"))
    # A plan counts only with ``plan.json``. Prompts are stored before it, so an interrupted build
    # may leave them alone.
    return sorted(
        place.plan_id
        for key, place in places
        if place is not None and key == layout.plan_key(place.plan_id)
    )
