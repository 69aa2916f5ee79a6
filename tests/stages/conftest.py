"""The unit whose candidates are all kept."""

import pytest

from pipeline.stages.unit import produce_unit
from tests.sealed import demo_models
from tests.stages.demo_unit import Kept, make_unit


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    spec, candidates = make_unit(tmp_path_factory.mktemp("unit"))
    return Kept(spec, candidates, produce_unit(candidates, *demo_models(), spec))
