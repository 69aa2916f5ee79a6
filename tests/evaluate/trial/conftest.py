"""Fixtures: the small sealed data set, and one small trial for tests that only read it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.evaluate.trial.findings import Trial
from pipeline.evaluate.trial.results import Results
from pipeline.evaluate.trial.run import TrialRun, compute, publish
from tests.evaluate.trial.networks import small_trial
from tests.sealed import built, sealed_folder

__all__ = ["built", "sealed_folder"]


@dataclass(frozen=True)
class Done:
    """Trial that ran without interruption, and its findings."""

    run: TrialRun
    trial: Trial

    @property
    def results(self) -> Results:
        names = [reward.name for reward in self.run.setup.config.rewards]
        return Results.read(self.run.setup.arm_specs(), names, self.run.chunks, self.run.files)


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    run = small_trial(tmp_path_factory.mktemp("trial"))
    assert len(list(compute(run, workers=1))) == len(run.files) == 3
    yield Done(run, publish(run))
