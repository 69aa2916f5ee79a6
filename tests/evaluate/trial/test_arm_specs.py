"""Tests of the arms of a trial."""

from pipeline.config.sections import SamplingConfig
from pipeline.evaluate.trial.arm_specs import ArmOptions, build_arms
from pipeline.evaluate.trial.arms import Plain, Resampled


def options(sampling: SamplingConfig) -> ArmOptions:
    return ArmOptions(
        model_guidance="classifier_free",
        sampling=sampling,
        golden_evaluations=15,
        networks=("NPNet",),
        guidance=(5.5,),
        plain_guidance=(1.5,),
        limit_guidance=None,
        limit_controls=None,
    )


def test_arms_under_other_guidance_are_sampled_like_the_others() -> None:
    """A different scheduler would be a second difference between the arms."""
    sampling = SamplingConfig(num_inference_steps=20, guidance_scale=1.0, scheduler="model")
    arms = [spec.arm for spec in build_arms(options(sampling))]
    others = [arm.sampling for arm in arms if isinstance(arm, Plain | Resampled) and arm.sampling]
    assert {(one.guidance_scale, one.num_inference_steps) for one in others} == {
        (1.5, 10),  # at the evaluations of the standard image
        (1.5, 20),
        (5.5, 20),
    }
    assert {one.scheduler for one in others} == {"model"}
