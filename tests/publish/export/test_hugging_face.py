"""Hugging Face export: loaded by ``datasets``, with the card parsed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard

from pipeline.core.escape import for_terminal
from pipeline.core.records import Split
from pipeline.publish.export import Licences, specify_export
from pipeline.publish.export.card import card, size_category
from pipeline.storage.open import open_store
from tests.publish.export.exports import SHAPE, export_to, our_samples
from tests.sealed import manifest_of

LICENCES = Licences(data="cc-by-4.0", model="openrail++", prompts="cc0-1.0")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the library's cache out of the home folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def _card(folder: Path) -> tuple[dict[str, Any], str]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    start, header, body = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(header), body


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_the_folder_with_its_splits_and_pictures(
    sealed_folder: Path, tmp_path: Path, streaming: bool
) -> None:
    export_to(tmp_path / "hf", sealed_folder, "hf", samples_per_file=7)
    loaded = load_dataset(str(tmp_path / "hf"), streaming=streaming)
    assert [*loaded] == [split.value for split in Split]
    for split in Split:
        ours = our_samples(sealed_folder, split)
        rows = {row["sample_id"]: row for row in loaded[split.value]}
        assert rows.keys() == ours.keys()
        for name, row in rows.items():
            for key in ("prompt", "seed", "source_rewards", "golden_rewards"):
                assert row[key] == ours[name][key]
            for key in ("source_noise", "golden_noise"):
                noise = np.asarray(row[key]).reshape(SHAPE)
                assert np.array_equal(noise, ours[name][key].numpy())
            for key in ("source_image", "golden_image"):
                assert np.array_equal(np.array(row[key].convert("RGB")), ours[name][key].numpy())


def test_datasets_loads_the_candidates_as_a_configuration(
    sealed_folder: Path, tmp_path: Path
) -> None:
    export_to(tmp_path / "hf", sealed_folder, "hf")
    candidates = load_dataset(str(tmp_path / "hf"), "candidates", split="candidates")
    funnel = manifest_of(sealed_folder).funnel
    assert candidates.num_rows == funnel.candidates
    assert candidates["status"][:].count("kept") == funnel.kept


def test_card_shows_how_to_load_what_datasets_then_loads(
    sealed_folder: Path, tmp_path: Path
) -> None:
    export_to(tmp_path / "hf", sealed_folder, "hf")
    _, body = _card(tmp_path / "hf")
    code = body.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code.replace("path/to/this", str(tmp_path / "hf")), names)
    first = our_samples(sealed_folder)[names["pairs"][0]["sample_id"]]
    assert names["x_T"].dtype == np.float16
    assert np.array_equal(names["x_T"], first["source_noise"].numpy())


def test_card_header_names_licence_size_task_and_files_of_each_split(
    sealed_folder: Path, tmp_path: Path
) -> None:
    made = export_to(tmp_path / "hf", sealed_folder, "hf", licences=LICENCES)
    assert made.remarks == ()
    header, _ = _card(tmp_path / "hf")
    assert header["license"] == "cc-by-4.0"
    assert header["pretty_name"] == "Noise Prompt Dataset demo"
    assert header["task_categories"] == ["text-to-image"]
    assert header["size_categories"] == ["n<1K"]
    assert "golden-noise" in header["tags"]
    pairs, candidates = header["configs"]
    assert (pairs["config_name"], candidates["config_name"]) == ("pairs", "candidates")
    assert [each["split"] for each in pairs["data_files"]] == [split.value for split in Split]
    for each in [*pairs["data_files"], *candidates["data_files"]]:
        assert list((tmp_path / "hf").glob(each["path"]))


def test_card_header_has_the_fields_of_the_hub_and_is_read_by_its_library(
    sealed_folder: Path, tmp_path: Path
) -> None:
    export_to(tmp_path / "hf", sealed_folder, "hf", licences=LICENCES)
    header, _ = _card(tmp_path / "hf")
    assert header == {
        "pretty_name": "Noise Prompt Dataset demo",
        "license": "cc-by-4.0",
        "task_categories": ["text-to-image"],
        "size_categories": ["n<1K"],
        "tags": ["golden-noise", "noise-prompt-dataset", "diffusion"],
        "configs": [
            {
                "config_name": "pairs",
                "default": True,
                "data_files": [
                    {"split": split.value, "path": f"data/{split.value}-*.parquet"}
                    for split in Split
                ],
            },
            {
                "config_name": "candidates",
                "data_files": [{"split": "candidates", "path": "candidates.parquet"}],
            },
        ],
    }
    assert DatasetCard.load(tmp_path / "hf" / "README.md").data.to_dict() == header


def test_card_tells_provenance_funnel_and_licences(sealed_folder: Path, tmp_path: Path) -> None:
    export_to(tmp_path / "hf", sealed_folder, "hf", licences=LICENCES)
    manifest = manifest_of(sealed_folder)
    _, body = _card(tmp_path / "hf")
    for split in Split:
        assert f"| {split.value} | {manifest.num_samples(split)} |" in body
    assert f"| plan | `{manifest.plan_id}`, version 1 |" in body
    assert f"| rejected: reward:scene | {manifest.funnel.rejected['reward:scene']} |" in body
    assert str(manifest.plan.settings.model.digest) in body
    assert manifest.fingerprints[0].packages["torch"] in body
    assert "| the diffusion model | openrail++ |" in body
    assert "| the prompts | cc0-1.0 |" in body
    assert "| the reward scene (scene) | apache-2.0 |" in body


def test_card_shows_text_of_the_data_set_escaped(sealed_folder: Path) -> None:
    spec = specify_export(open_store(str(sealed_folder)), "hf")
    settings = spec.manifest.plan.settings
    model = settings.model.model_copy(update={"name": "a\x1b[31m\u202e<script>b"})
    plan = spec.manifest.plan.model_copy(
        update={"settings": settings.model_copy(update={"model": model})}
    )
    computed = spec.manifest.fingerprints[0].model_copy(update={"device": "<img src=x>|\x9b"})
    manifest = spec.manifest.model_copy(update={"plan": plan, "fingerprints": [computed]})
    text = card(replace(spec, manifest=manifest))
    assert for_terminal(text) == text
    before_settings, _, _ = text.partition("```json")
    assert "<img" not in before_settings.replace("\\<img", "")
    assert "\\|\\x9b" in before_settings


def test_card_without_licences_says_so(bare_folder: Path, tmp_path: Path) -> None:
    made = export_to(tmp_path / "hf", bare_folder, "hf")
    assert made.remarks == ("the card lists the licence of data, model, prompts as unknown",)
    header, _ = _card(tmp_path / "hf")
    assert header["license"] == "unknown"
    pairs = load_dataset(str(tmp_path / "hf"), split="train")
    assert "source_image" not in pairs.column_names
    assert set(pairs["sample_id"]) == our_samples(bare_folder).keys()


@pytest.mark.parametrize(
    ("num_samples", "name"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**5, "100K<n<1M"), (10**6, "1M<n<10M")],
)
def test_size_category_is_the_hubs_name(num_samples: int, name: str) -> None:
    assert size_category(num_samples) == name
