"""Output of commands as one JSON object (``--json``). ``docs/json-output.md`` lists all keys.

Keys are stable: a later version may add some, and removes or renames none. Numbers are in base
units (seconds, bytes), times are ISO 8601 in UTC, and what is unknown is null.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic_core import to_json

from pipeline.cli.console import show
from pipeline.cli.exit_codes import ExitCode
from pipeline.publish.gc import UnreferencedObject
from pipeline.storage.manifest import Funnel, Manifest

if TYPE_CHECKING:
    # Not imported at run time: it imports numpy, which `npd --help` does not need.
    from pipeline.evaluate.compare import Estimate

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object (docs/json-output.md) instead.")
]


def show_json(result: Mapping[str, Any]) -> None:
    """Print a result as one line of JSON. NaN and infinity, which JSON lacks, become null."""
    text = to_json(result, inf_nan_mode="null", timedelta_mode="float", ensure_ascii=True)
    # The only control character that JSON leaves as it is.
    show(text.decode().replace("\x7f", "\\u007f"))


def wants_json(arguments: Sequence[str] | None = None) -> bool:
    """Return True if a command was called with ``--json``. Errors are then JSON, too."""
    # Read from the words, because arguments that cannot be parsed are an error as well.
    return "--json" in (sys.argv[1:] if arguments is None else arguments)


def show_json_error(message: str, exit_code: ExitCode) -> None:
    """Print the error that ends a command as JSON, if standard output can be written."""
    # The error itself may be that it cannot. It stands on standard error, too.
    with suppress(OSError, SystemExit):
        show_json({"error": message, "exit_code": exit_code})


def funnel_json(funnel: Funnel) -> dict[str, Any]:
    """Return the counts of candidates for ``show_json``."""
    return {
        **funnel.model_dump(),
        "judged": funnel.num_judged,
        "unjudged": funnel.unjudged,
        "kept_share": funnel.kept_rate,
    }


def estimate_json(estimate: "Estimate | None") -> dict[str, float] | None:
    """Return a value with its 95% interval for ``show_json``."""
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """Return the summary of a version for ``show_json``: its selection, funnel and shards."""
    return {
        "plan_id": manifest.plan_id,
        "version": manifest.version,
        "selection": manifest.selection,
        "funnel": funnel_json(manifest.funnel),
        "shards": [
            {
                "split": split,
                "format": shard_format,
                "pairs": sum(shard.num_samples for shard in shards),
                "shards": len(shards),
                "bytes": sum(shard.num_bytes for shard in shards),
            }
            for split, formats in manifest.shards.items()
            for shard_format, shards in formats.items()
        ],
    }


def unreferenced_json(found: UnreferencedObject) -> dict[str, Any]:
    """Return an object to which nothing refers, for ``show_json``."""
    return {
        "key": found.key,
        "reference": found.reference,
        "why": found.why,
        "bytes": found.num_bytes,
        "modified": found.modified,
    }
