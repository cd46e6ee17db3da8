"""Describe a pipeline by settings, compare it with those of a file, and write them as code."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from helpers import MODELS, use_scheduler
from helpers.loading import compatible_schedulers
from labs.images.generate import default_size
from labs.images.origin import fingerprint, identify, lora_strengths, unrecorded
from labs.images.settings import Settings, SettingsError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def describe_settings(
    pipeline: DiffusionPipeline, prompt: str = "", negative_prompt: str = "", **choices: Any
) -> Settings:
    """Complete what a reader chooses to settings, with the model, its weights and its size.

    Args:
        choices: other fields of `Settings`, such as the seed; what is left out or None has the
            pipeline's default.

    Raises:
        ValueError: a setting is out of range, or the scheduler does not fit.
    """
    chosen = {name: value for name, value in choices.items() if value is not None}
    scheduler = chosen.pop("scheduler", type(pipeline.scheduler).__name__)
    use_scheduler(copy.copy(pipeline), scheduler)
    model, revision = identify(pipeline)
    return Settings(
        prompt,
        negative_prompt,
        scheduler=scheduler,
        model=model,
        revision=revision,
        pipeline=type(pipeline).__name__,
        dtype=str(pipeline.dtype).removeprefix("torch."),
        weights=fingerprint(pipeline),
        loras=lora_strengths(pipeline),
        unrecorded=unrecorded(pipeline),
        **{"height": default_size(pipeline), "width": default_size(pipeline), **chosen},
    )


def differences(settings: Settings, pipeline: DiffusionPipeline) -> str:
    """Say what keeps a pipeline from making the image of these settings again, "" if nothing.

    Raises:
        SettingsError: the settings' scheduler does not fit the pipeline.
    """
    if settings.scheduler not in (fitting := compatible_schedulers(pipeline)):
        raise SettingsError(
            "scheduler",
            f"{settings.scheduler!r} does not fit this model: choose one of {', '.join(fitting)}.",
        )
    here = describe_settings(pipeline, scheduler=settings.scheduler)
    return next(_differences(settings, here), "")


def _differences(settings: Settings, here: Settings) -> Iterator[str]:
    if settings.model != here.model:
        yield (
            f"It was made with {settings.model!r}, not {here.model!r}: if you trust that model, "
            "load it with load_pipeline and start a playground with it."
        )
    if settings.revision != here.revision:
        commits = f"{settings.revision}, not {here.revision}"
        yield f"It was made with another commit of {here.model!r}: {commits}."
    if settings.pipeline not in ("", here.pipeline):
        yield f"It was made by a {settings.pipeline}, and this is a {here.pipeline}."
    if settings.unrecorded:
        yield f"It was made with {settings.unrecorded}, which the file does not hold."
    if here.unrecorded:
        yield f"It was made without {here.unrecorded}, which this pipeline has."
    if settings.loras != here.loras:
        yield f"It was made with {_loras(settings)}, and this pipeline has {_loras(here)}."
    if settings.dtype != here.dtype:
        yield (
            f"It was made in {settings.dtype}, this pipeline runs in {here.dtype}: load it with "
            f"dtype={settings.dtype!r} for the same image."
        )
    if None not in (settings.weights, here.weights) and settings.weights != here.weights:
        yield "It was made with other weights of this model: load those for the same image."


def to_code(settings: Settings, pipeline: DiffusionPipeline) -> str:
    """Write the lines of plain Diffusers that make an image again, and leave it in `image`.

    A model on this machine is named by its folder, relative to the working directory. A comment
    says what the code lacks.

    Args:
        settings: what `describe_settings` returned for this pipeline.
    """
    if not pipeline.name_or_path:
        return "# The pipeline was not loaded from a folder or the Hub, so code cannot name it.\n"
    if settings.model in MODELS and MODELS[settings.model].random_weights:
        options = f"device={pipeline.device.type!r}, dtype={settings.dtype!r}"
        return f"# Random weights: load them with load_pipeline({settings.model!r}, {options}).\n"
    source = repr(settings.model)
    if not settings.revision and os.path.exists(pipeline.name_or_path):
        source = repr(os.path.relpath(pipeline.name_or_path).replace(os.sep, "/"))
    revision = f"\n    revision={settings.revision!r}," if settings.revision else ""
    lacking = ""
    if settings.unrecorded:
        lacking = f"# This code lacks {settings.unrecorded}, which the pipeline had.\n"
    if settings.loras:
        lacking += f"# Load {_loras(settings)} here: load_lora_weights, then set_adapters.\n"
    size = f"height={settings.height}, width={settings.width}"
    return f"""\
import torch
from diffusers import {settings.pipeline}, {settings.scheduler}

pipeline = {settings.pipeline}.from_pretrained(
    {source},{revision}
    dtype=torch.{settings.dtype},
    use_safetensors=True,
).to({str(pipeline.device)!r})
pipeline.scheduler = {settings.scheduler}.from_config(pipeline.scheduler.config)
{lacking}image = pipeline(
    prompt={settings.prompt!r},
    negative_prompt={settings.negative_prompt!r},
    num_inference_steps={settings.num_inference_steps},
    guidance_scale={settings.guidance_scale},
    {size},
    generator=torch.Generator("cpu").manual_seed({settings.seed}),
).images[0]
"""


def _loras(settings: Settings) -> str:
    named = [f"{name} at strength {strength:g}" for name, strength in settings.loras.items()]
    return f"LoRA weights ({', '.join(named)})" if named else "no LoRA weights"
