"""Schedulers: which fit a pipeline, what is refused, and that a refusal changes nothing."""

import diffusers
import pytest

from helpers import adherence, get_inputs, use_scheduler
from helpers.loading import compatible_schedulers


@pytest.mark.parametrize(
    "scheduler", ["DPMSolverMultistepScheduler", diffusers.DPMSolverMultistepScheduler]
)
def test_the_scheduler_is_the_one_that_from_config_makes(pipeline, scheduler):
    expected = diffusers.DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    assert use_scheduler(pipeline, scheduler) is pipeline
    assert type(pipeline.scheduler) is diffusers.DPMSolverMultistepScheduler
    assert pipeline.scheduler.config == expected.config


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("DPMSolverMultistep", "Nearest: DPMSolverMultistepScheduler"),
        ("Euler a", "Nearest: Euler(Ancestral)?Discrete"),
        (diffusers.FlowMatchEulerDiscreteScheduler, "is not a scheduler that fits"),
        ("EDMEulerScheduler", "not a scheduler that fits"),  # it would generate noise
        ("DPMSolverSDEScheduler", "not a .* follows its seeds"),
        (diffusers.DDIMScheduler(), "is not a scheduler that fits.*Nearest: DDIMScheduler"),
    ],
)
def test_a_scheduler_that_does_not_fit_changes_nothing(pipeline, scheduler, message):
    before = pipeline.scheduler
    with pytest.raises(ValueError, match=message):
        use_scheduler(pipeline, scheduler)
    assert pipeline.scheduler is before


def test_every_compatible_scheduler_follows_the_prompt(pipeline, judge):
    prompt = "portrait photo of a knight, blue on red, side profile"
    images = {}
    for name in compatible_schedulers(pipeline):
        use_scheduler(pipeline, name)
        (images[name],) = pipeline(**get_inputs(1, prompt, num_inference_steps=15)).images
    found = adherence(list(images.values()), prompt, judge)
    right = found[["subject", "figure", "background", "view"]].sum(axis="columns")
    assert (right >= 3).all(), dict(zip(images, right, strict=True))  # of noise, one or none
