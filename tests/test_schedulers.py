"""Schedulers: which fit a pipeline, what is refused, and that a refusal changes nothing."""

import diffusers
import pytest
import torch

from helpers import adherence, get_inputs, load_pipeline, use_scheduler
from helpers.loading import compatible_schedulers


@pytest.mark.parametrize(
    "scheduler", ["DPMSolverMultistepScheduler", diffusers.DPMSolverMultistepScheduler]
)
def test_the_scheduler_is_the_one_that_from_config_makes(pipeline, scheduler):
    config = pipeline.scheduler.config
    expected = diffusers.DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
    assert use_scheduler(pipeline, scheduler, use_karras_sigmas=True) is pipeline
    assert type(pipeline.scheduler) is diffusers.DPMSolverMultistepScheduler
    assert pipeline.scheduler.config == expected.config
    assert torch.equal(pipeline.scheduler.betas, expected.betas)


def test_load_pipeline_takes_a_scheduler():
    pipeline = load_pipeline(device="cpu", scheduler="EulerDiscreteScheduler")
    assert type(pipeline.scheduler) is diffusers.EulerDiscreteScheduler


@pytest.mark.parametrize(
    ("scheduler", "changes", "message"),
    [
        ("DPMSolverMultistep", {}, "Nearest: DPMSolverMultistepScheduler"),
        ("Euler a", {}, "Nearest: Euler(Ancestral)?Discrete"),
        (diffusers.FlowMatchEulerDiscreteScheduler, {}, "is not a scheduler that fits"),
        ("EDMEulerScheduler", {}, "not a scheduler that fits"),  # it would generate noise
        (diffusers.DDIMScheduler(), {}, r"'DDIMScheduler\(\)' is not.*Nearest: DDIMScheduler"),
        ("DDIMScheduler", {"steps_ofset": 1}, "no setting 'steps_ofset'. Nearest: steps_offset"),
        ("DDIMScheduler", {"beta_schedule": "none"}, "cannot be made with .*'none'"),
        ("DDIMScheduler", {"num_train_timesteps": "many"}, r"cannot be made with .*'many'[^\n]*$"),
        (
            "DPMSolverMultistepScheduler",
            {"use_karras_sigmas": True, "use_exponential_sigmas": True},
            "cannot be made with .*Only one of",
        ),
    ],
)
def test_a_scheduler_that_does_not_fit_changes_nothing(pipeline, scheduler, changes, message):
    before = pipeline.scheduler
    with pytest.raises(ValueError, match=message):
        use_scheduler(pipeline, scheduler, **changes)
    assert pipeline.scheduler is before


def test_every_compatible_scheduler_follows_the_prompt(pipeline, judge):
    prompt = "portrait photo of a knight, blue on red, side profile"
    for name in compatible_schedulers(pipeline):
        use_scheduler(pipeline, name)
        image = pipeline(**get_inputs(1, prompt, num_inference_steps=15)).images
        found = adherence(image, prompt, judge)[["subject", "figure", "background", "view"]]
        assert found.sum(axis=None) >= 3, name  # of noise, it reads one or none


def test_a_scheduler_whose_library_is_missing_says_which(pipeline, monkeypatch):
    class Lacking:
        _backends = ["torch", "torchsde"]

        def __init__(self, *args, **kwargs):
            """Diffusers' stand-in for a class whose library is missing."""

    monkeypatch.setattr(type(pipeline.scheduler), "compatibles", [Lacking])
    assert "Lacking" not in compatible_schedulers(pipeline)
    with pytest.raises(ValueError, match="Lacking needs a library .*not installed: torchsde"):
        use_scheduler(pipeline, "Lacking")
