"""The sealed plans of a data set, as a training run sees them: which model, which noises."""

from collections.abc import Sequence

from pipeline.errors import ModelError, UserError
from pipeline.models.model_identity import planned_identity
from pipeline.npnet.latents import Latents, PictureShape, latents_of
from pipeline.npnet.origin import ModelIdentity, TrainingData
from pipeline.storage.manifest import Manifest
from pipeline.storage.open import open_store
from pipeline.storage.success import SealedManifest, sealed_manifests

SealedPlan = tuple[SealedManifest, Manifest]

Noises = tuple[Latents | None, PictureShape]
"""How noises become pictures, and the pictures' (C, H, W)."""


def sealed_plans(url: str) -> tuple[SealedPlan, ...]:
    """All plans of a sealed data set. Raises ``UserError`` if nothing is sealed."""
    return tuple(sealed_manifests(open_store(url)))


def training_data(plans: Sequence[SealedPlan]) -> tuple[TrainingData, ...]:
    """What a network records of its data."""
    return tuple(
        TrainingData(
            plan_id=manifest.plan_id,
            version=manifest.version,
            manifest_sha256=sealed.sha256,
            model_digest=planned_identity(manifest.plan.settings["model"]).digest,
        )
        for sealed, manifest in plans
    )


def refuse_pairs_of_other_model(
    url: str, plans: Sequence[SealedPlan], model: ModelIdentity
) -> None:
    """Raise ``ModelError`` if some pairs were made by another model than ``model``."""
    for _, manifest in plans:
        made_by = planned_identity(manifest.plan.settings["model"])
        if made_by.settings != model.settings:
            raise ModelError(
                f"{url}: the pairs of plan {manifest.plan_id} were made by {made_by.name!r} (model "
                f"{made_by.digest}), and this is {model}. Give the same [model] as the build, with "
                "--config, or --allow-other-model to train for this one all the same"
            )


def latents_in(url: str, plans: Sequence[SealedPlan]) -> Noises:
    """The pictures that all noises of a data set stand for. Raises ``UserError``."""
    found = {}
    for _, manifest in plans:
        model = manifest.plan.settings["model"]
        size = (model.get("height"), model.get("width"))
        found[latents_of(tuple(manifest.latent_shape), *size)] = manifest.plan_id
    if len(found) != 1:
        said = "; ".join(f"{shape} in plan {plan_id}" for (_, shape), plan_id in found.items())
        raise UserError(f"{url}: one network reads noises of one shape, and these are {said}")
    return next(iter(found))
