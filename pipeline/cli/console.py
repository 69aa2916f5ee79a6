"""Output of the commands: remarks and summaries."""

import os
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    RenderableType,
    RenderHook,
    RenderResult,
)
from rich.table import Table

from pipeline.cli.exit_codes import ExitCode
from pipeline.config.plan import Plan
from pipeline.config.sections import UnitsConfig
from pipeline.core.escape import for_terminal, for_terminal_line
from pipeline.core.prompt_funnel import PromptFunnel
from pipeline.core.quantities import counted, human_bytes
from pipeline.storage.manifest import Funnel, Manifest
from pipeline.storage.plans import dropped_key_of
from pipeline.storage.versions import PlanVersion

if TYPE_CHECKING:
    # Not imported at run time: it imports torch, which takes seconds.
    from pipeline.publish.verify import Verification

_FOREIGN_SHOWN = 20


class _EscapedText:
    """Renders a renderable with the control characters of its text escaped."""

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._renderable, options):
            # The console's own colours and cursor movements are styles and control segments.
            yield segment if segment.control else segment._replace(text=for_terminal(segment.text))


class _EscapeText(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_EscapedText(renderable) for renderable in renderables]


# Without markup, because messages contain text from data.
console = Console(stderr=True, highlight=False, markup=False)
"""Console for progress and remarks, on standard error. Results go to standard output."""
console.push_render_hook(_EscapeText())


def show(text: str, end: str = "\n") -> None:
    """Print a result to standard output, with control characters escaped.

    Exit without a message if its reader has closed the pipe, as ``head`` does.
    """
    try:
        # Flushed, because the interpreter would print a message about the error at its end.
        print(for_terminal(text), end=end, flush=True)
    except BrokenPipeError:
        # Whatever is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(ExitCode.PIPE_CLOSED) from None


def show_next(*words: str) -> None:
    """Print the command that a person runs next."""
    console.print(f"next: {shlex.join(words)}", soft_wrap=True)


def show_manifest(manifest: Manifest, url: str) -> None:
    """Print the summary of a sealed version: a table of shards, the selection and the funnel."""
    table = Table(title=f"Noise Prompt Dataset {manifest.plan_id}", title_justify="left")
    table.add_column("split")
    for name in ("format", "pairs", "shards", "bytes"):
        table.add_column(name, justify="right")
    for split, formats in manifest.shards.items():
        for shard_format, shards in formats.items():
            pairs = sum(shard.num_samples for shard in shards)
            size = human_bytes(sum(shard.num_bytes for shard in shards))
            table.add_row(split, shard_format, str(pairs), str(len(shards)), size)
    console.print(table)
    names = {name for of_split in manifest.shards.values() for name in of_split}
    if len(names) > 1:
        console.print(f"each of the {len(names)} formats holds all {_stored_pairs(manifest)}")
    # With one reward every rule decides alike, so the rule is not shown.
    rule = "" if len(manifest.selection) == 1 else f" ({manifest.plan.rule})"
    console.print(f"version {manifest.version}, kept where better{rule}: {margins_line(manifest)}")
    console.print(funnel_line(manifest.funnel))
    console.print(f"sealed at {url}", soft_wrap=True)


def version_line(version: PlanVersion) -> str:
    """Return the state of a version as text to print after its number."""
    mark = " (current)" if version.is_current else ""
    if version.manifest is None:
        return f"{mark}: {'removed' if version.is_removed else f'damaged: {version.damage}'}"
    pairs = _stored_pairs(version.manifest)
    return f"{mark}: {pairs}, kept where better: {margins_line(version.manifest)}"


def _stored_pairs(manifest: Manifest) -> str:
    return counted(manifest.funnel.in_shards, "pair")


def margins_line(manifest: Manifest) -> str:
    """Return each selecting reward with its margin, such as ``scene by 0.1``."""
    return ", ".join(f"{name} by {margin:g}" for name, margin in manifest.selection.items())


def show_verification(found: "Verification") -> None:
    """Print each finding of a verification, then a summary, to standard output."""
    for problem in found.problems:
        show(f"wrong: {for_terminal_line(problem.key)}: {problem.text}")
    for disagreement in found.disagreements:
        show(f"differs: {for_terminal_line(disagreement.key)}: {disagreement.text}")
    for orphan in found.orphans:
        show(f"orphan: {orphan.key}: {orphan.why}")
    if found.orphans:
        show("orphans are never read; `npd gc` lists and deletes those that are garbage")
    if found.not_listed:
        show(f"orphans and disagreements were not looked for: {found.not_listed}")
    for file in found.foreign[:_FOREIGN_SHOWN]:
        show(f"foreign: {for_terminal_line(file.key)}: {file.why}")
    if found.foreign:
        more = len(found.foreign) - _FOREIGN_SHOWN
        also = f" ({more} more are not shown)" if more > 0 else ""
        show(f"foreign files are never read or deleted{also}")
    show(
        f"{counted(found.manifests, 'plan')}, {counted(found.units, 'unit')}, "
        f"{counted(found.candidates, 'candidate')}, {counted(found.shards, 'shard')} with "
        f"{_pairs(found)}, {human_bytes(found.num_bytes)} read: "
        f"{counted(len(found.orphans), 'orphan')}, "
        f"{counted(len(found.disagreements), 'disagreement')}, "
        f"{counted(len(found.problems), 'problem')}"
    )


def _pairs(found: "Verification") -> str:
    """Return the number of pairs. Each format holds all of them."""
    counts = found.pairs_by_format
    if len(counts) > 1 and len(set(counts.values())) == 1:
        pairs = counted(found.pairs // len(counts), "pair")
        return f"{pairs} in each of {len(counts)} formats"
    if len(counts) > 1:
        return ", ".join(
            f"{counted(count, 'pair')} in {name}" for name, count in sorted(counts.items())
        )
    return counted(found.pairs, "pair")


def batch_remark(units: UnitsConfig) -> str | None:
    """Return a remark if batches are smaller than configured, else None."""
    if units.batch_size <= units.size:
        return None
    return (
        f"of {units.largest_batch}, not {units.batch_size}: no batch spans two units of "
        f"{units.size}. units.batch_size = {units.largest_batch} computes the same pairs, as "
        "another plan"
    )


def funnel_line(funnel: Funnel) -> str:
    """Return the funnel as one line: kept, rejected and failed candidates with their reasons."""
    noun = "candidate" if funnel.judged is None else "judged candidate"
    judged = counted(funnel.num_judged, noun)
    parts = [f"{funnel.kept:,} of {judged} kept ({funnel.kept_rate:.1%})"]
    if funnel.judged is not None:
        parts.append(f"{counted(funnel.unjudged, 'pair')} stored without being judged")
    parts += [f"{count:,} rejected by {reason}" for reason, count in funnel.rejected.items()]
    parts += [f"{count:,} failed by {reason}" for reason, count in funnel.failed.items()]
    if funnel.truncated:
        parts.append(f"{funnel.truncated:,} with a truncated prompt")
    return ", ".join(parts)


def prompt_remarks(plan: Plan, url: str) -> Iterator[str]:
    """Yield the prompt funnel of a plan and the location of its list of dropped prompts."""
    for name, counts in prompt_lines(plan.prompt_funnel):
        yield f"{name}: {counts}"
    if (key := dropped_key_of(plan)) is not None:
        yield f"dropped prompts, with their reasons: {url}/{key}"


def prompt_lines(funnel: PromptFunnel) -> Iterator[tuple[str, str]]:
    """Yield the prompt funnel as (name, counts): the total, each source, the safety verdicts.

    Sources are listed only if there are several.
    """
    groups = [("prompts", funnel.kept, funnel.rows, funnel.dropped)]
    if len(funnel.sources) > 1:
        groups += [(f"  {s.name}", s.kept, s.rows, s.dropped) for s in funnel.sources]
    for name, kept, rows, dropped in groups:
        reasons = ", ".join(f"{count:,} {reason.value}" for reason, count in dropped.items())
        yield name, f"{kept:,} of {counted(rows, 'row')}{reasons and f': {reasons}'}"
    if funnel.verdicts:
        counts = ", ".join(f"{count:,} {verdict}" for verdict, count in funnel.verdicts.items())
        yield "  safety verdicts", counts
