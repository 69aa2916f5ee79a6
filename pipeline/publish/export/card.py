"""Data set card for the Hugging Face hub: a README.md with a YAML header."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub import DatasetCardData

from pipeline.core.escape import for_markdown, for_terminal, for_terminal_line
from pipeline.publish.export.spec import ExportSpec

DATA = "data"
CANDIDATES = "candidates.parquet"

REWARD_LICENCES: Mapping[str, str] = {
    "scene": "apache-2.0",
    "scene_oracle": "apache-2.0",
    "image_reward": "apache-2.0",
    "hps_v2": "apache-2.0",
    "aesthetic": "apache-2.0",
}
"""Maps kinds of rewards to the licences of their weights, where known."""

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def card(spec: ExportSpec) -> str:
    """Return the text of the card."""
    return "\n".join(["---", str(_header(spec)), "---", "", *_body(spec), ""])


def size_category(num_samples: int) -> str:
    """Return the hub's size category for a number of samples."""
    return next((name for end, name in _SIZES if num_samples < end), "1M<n<10M")


def _header(spec: ExportSpec) -> DatasetCardData:
    model = spec.manifest.plan.settings.model.name
    pairs = [
        {"split": split.value, "path": f"{DATA}/{split.value}-*.parquet"} for split in spec.splits
    ]
    # The hub needs a split for every file, also for the list of all candidates.
    candidates = [{"split": "candidates", "path": CANDIDATES}]
    return DatasetCardData(
        pretty_name=for_terminal_line(f"Noise Prompt Dataset {model}".strip()),
        license=spec.licences.data,
        task_categories=["text-to-image"],
        size_categories=[size_category(sum(_counts(spec).values()))],
        tags=["golden-noise", "noise-prompt-dataset", "diffusion"],
        configs=[
            {"config_name": "pairs", "default": True, "data_files": pairs},
            {"config_name": "candidates", "data_files": candidates},
        ],
    )


def _body(spec: ExportSpec) -> Iterator[str]:
    manifest = spec.manifest
    yield "# Noise Prompt Dataset"
    yield ""
    yield (
        "Pairs of initial noises for a text-to-image diffusion model. Each golden noise was made "
        "from its source noise by one high-then-low guidance step (arXiv 2411.09502). A pair was "
        "kept if the image from its golden noise scored higher than that from its source noise."
    )
    if manifest.funnel.unjudged:
        yield ""
        yield (
            f"Only a random sample of {manifest.funnel.num_judged:,} candidates was judged in this "
            f"way. The other {manifest.funnel.unjudged:,} pairs have no scores, and `judged` is "
            "false. Some of them would have been rejected."
        )
    yield ""
    yield from _table(("split", "pairs"), _counts(spec).items())
    yield ""
    yield "## Loading"
    yield ""
    yield "```python"
    yield "from datasets import load_dataset"
    yield ""
    yield f'pairs = load_dataset("path/to/this", split="{spec.splits[0].value}")'
    yield 'noises = pairs.select_columns(["source_noise", "golden_noise"])'
    yield 'noises = noises.with_format("numpy", dtype="float16")'
    shape = ", ".join(map(str, manifest.latent_shape))
    yield f'x_T = noises[0]["source_noise"].reshape({shape})'
    yield "```"
    yield ""
    yield (
        "Noise is float16 and flattened in row-major order. The configuration `candidates` lists "
        "all candidates, including rejected ones, with all scores. Use it to measure an effect: "
        "the kept pairs are selected for higher scores."
    )
    yield ""
    yield "## Provenance"
    yield ""
    yield from _table(("property", "value"), _provenance(spec))
    yield ""
    yield from _table(("outcome", "candidates"), _funnel(spec))
    yield ""
    yield "All settings that determine the result:"
    yield ""
    yield "```json"
    stored = manifest.plan.settings.stored()
    yield for_terminal(json.dumps(stored, indent=2, sort_keys=True, ensure_ascii=False))
    yield "```"
    yield ""
    yield "## Licences"
    yield ""
    yield from _table(("subject", "licence"), _licences(spec))


def _counts(spec: ExportSpec) -> dict[str, int]:
    return {split.value: spec.manifest.num_samples(split) for split in spec.splits}


def _provenance(spec: ExportSpec) -> Iterator[tuple[str, Any]]:
    manifest = spec.manifest
    yield "plan", f"`{manifest.plan_id}`, version {manifest.version}"
    yield "manifest", f"`{spec.manifest_sha256}`"
    yield "noise shape", " × ".join(map(str, manifest.latent_shape))
    for name, margin in manifest.selection.items():
        yield "kept where", f"golden {name} > source {name} + {margin:g}"
    for each in manifest.fingerprints:
        packages = ", ".join(f"{name} {version}" for name, version in each.packages.items())
        yield "computed on", f"{each.device} ({each.kernels}), Python {each.python}, {packages}"


def _funnel(spec: ExportSpec) -> Iterator[tuple[str, int]]:
    funnel = spec.manifest.funnel
    yield "all", funnel.candidates
    if funnel.judged is not None:
        yield "judged", funnel.judged
    yield "kept", funnel.kept
    if funnel.judged is not None:
        yield "not judged, in the data set", funnel.unjudged
    for reason, count in funnel.rejected.items():
        yield f"rejected: {reason}", count
    for reason, count in funnel.failed.items():
        yield f"failed: {reason}", count


def _licences(spec: ExportSpec) -> Iterator[tuple[str, str]]:
    yield "this data set", spec.licences.data
    yield "the diffusion model", spec.licences.model
    yield "the prompts", spec.licences.prompts
    for reward in spec.manifest.plan.settings.rewards:
        licence = REWARD_LICENCES.get(reward.kind, "unknown")
        yield f"the reward {reward.name} ({reward.kind})", licence


def _table(head: tuple[str, str], rows: Any) -> Iterator[str]:
    yield f"| {head[0]} | {head[1]} |"
    yield "|---|---|"
    for name, value in rows:
        yield f"| {for_markdown(name)} | {for_markdown(str(value))} |"
