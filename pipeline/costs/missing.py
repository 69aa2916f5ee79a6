"""Which models of a configuration are not on this machine."""

from collections.abc import Callable, Iterator
from functools import partial

from pipeline.config.sections import Config
from pipeline.errors import ModelError
from pipeline.models.diffusers.pipeline_files import locate_pipeline
from pipeline.models.source import locate


def missing_models(config: Config) -> list[ModelError]:
    """For each model that is not here, what to fetch and where to put it; nothing is fetched."""
    return list(filter(None, map(_error, _lookups(config))))


def _lookups(config: Config) -> Iterator[Callable[[], object]]:
    yield partial(locate_pipeline, config.model, fetch=False)
    for source in (*config.model.loras, *config.rewards):
        if source.has_place:
            yield partial(locate, source, fetch=False)


def _error(lookup: Callable[[], object]) -> ModelError | None:
    try:
        lookup()
    except ModelError as error:
        return error
    return None
