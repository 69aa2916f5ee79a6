"""Saved networks with an origin."""

from pathlib import Path

from pipeline.npnet import NPNet
from pipeline.npnet.origin import ModelIdentity, Origin

OTHER_MODEL = ModelIdentity(name="other", settings={"digest": "0" * 64}, text_encoder="1" * 64)


def save_trained_for(model: ModelIdentity, npnet: NPNet, folder: Path) -> None:
    """Save a network as training for ``model`` does."""
    npnet.origin = Origin(project_version="0", model=model, data=(), settings={})
    npnet.save(folder)
    assert NPNet.load(folder).origin == npnet.origin
