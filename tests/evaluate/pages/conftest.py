"""Fixtures: a real Chromium, and pages of data sets and of a trial with hostile texts."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from pipeline.config.sections import SamplingConfig
from pipeline.evaluate.trial.run import compute, prepare, publish
from pipeline.evaluate.trial.samples import Categories
from pipeline.evaluate.trial.settings import Setup
from pipeline.storage.open import open_store
from pipeline.workflows.page import PageOptions, running_plan_page, sealed_plan_page
from tests.evaluate.pages.chromium import find_chromium
from tests.evaluate.pages.hostile import PROMPTS, REWARDS, SCRIPT, build_hostile, commit_half
from tests.evaluate.trial.networks import CONFIG, SETTINGS, Unchanged
from tests.sealed import Built, built, sealed_folder, write_config

__all__ = ["built", "sealed_folder"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """An installed Chromium. Without one, the tests are skipped."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium was found; install one, or name it with NPD_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@dataclass(frozen=True)
class HostilePages:
    """Pages whose texts try to act."""

    built: Built
    sealed: Path
    """Folder of the sealed store."""
    pages: dict[str, Path]
    """Maps names to the files of the pages."""


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> HostilePages:
    folder, path = tmp_path_factory.mktemp("hostile"), [*sys.path]
    built = build_hostile(folder / "config")
    sealed, running = folder / "sealed", folder / "running"
    manifest = built.sealed_in(str(sealed))
    store = open_store(str(sealed))
    options = PageOptions(categories={PROMPTS[0]: (SCRIPT, "plain")}, price=2.0)
    sealed_key = sealed_plan_page(store, manifest, options, target=store)
    commit_half(built, str(running))
    half = open_store(str(running))
    running_key = running_plan_page(half, built.plan.plan_id, PageOptions(), target=half)
    trial = _trial(folder)
    # Other tests must not find the judge's module.
    sys.path[:] = path
    sys.modules.pop("brightness")
    return HostilePages(
        built=built,
        sealed=sealed,
        pages={
            "sealed": sealed / sealed_key,
            "running": running / running_key,
            "trial": trial / "trial.html",
            "summary": trial / "summary.html",
        },
    )


def _trial(folder: Path) -> Path:
    """Run the smallest trial of such prompts, with a network of such a name."""
    settings = SETTINGS.model_copy(
        update={
            "sampling": SamplingConfig(num_inference_steps=1, guidance_scale=1.0),
            "seeds_per_prompt": 1,
            "batch_size": len(PROMPTS),
            "limit_guidance": 2,
            "limit_controls": 2,
        }
    )
    config = write_config(folder, {**CONFIG, "rewards": REWARDS})
    setup = Setup(config, (Unchanged(name=SCRIPT),), settings)
    categories: Categories = {prompt: (prompt[:60],) for prompt in PROMPTS}
    run = prepare(setup, PROMPTS, categories, None, folder / "trial")
    assert len(list(compute(run, workers=1))) == 1
    publish(run)
    return folder / "trial"
