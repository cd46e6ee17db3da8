"""Describe what a pipeline is to draw, what keeps another from drawing it, and the code for it."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from helpers.changes import use_scheduler
from helpers.inputs import cut_words, unknown_words
from helpers.models import MODELS, MODELS_FOLDER, identify
from helpers.timing import PACKAGES
from labs.images.settings import Settings
from labs.images.weights import changes_of, fingerprint, is_as_loaded

if TYPE_CHECKING:
    from helpers.pipelines import Pipeline, StableDiffusion


def describe_settings(
    pipeline: StableDiffusion,
    prompt: str,
    *,
    negative_prompt: str = "",
    seed: int = 0,
    num_inference_steps: int = 20,
    guidance_scale: float = 7.5,
    scheduler: str | None = None,
    height: int | None = None,
    width: int | None = None,
) -> Settings:
    """Complete what a reader chooses with what the pipeline adds: model, config, versions.

    Args:
        pipeline: what is to draw.
        scheduler: the name of one that fits; None for the pipeline's own.
        height, width: in pixels; None for the model's own, each by itself.

    Raises:
        ValueError: a setting is out of range, or the scheduler does not fit.

    Example:
        >>> from helpers import load_pipeline
        >>> settings = describe_settings(load_pipeline("tiny-portraits", device="cpu"), "a knight")
        >>> settings.model, settings.scheduler, settings.scheduler_config["steps_offset"]
        ('tiny-portraits', 'PNDMScheduler', 1)
    """
    name = scheduler or type(pipeline.scheduler).__name__
    config = use_scheduler(copy.copy(pipeline), name).scheduler.config
    model, revision = identify(pipeline)
    return Settings(
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        scheduler=name,
        scheduler_config={key: value for key, value in config.items() if key[0] != "_"},
        model=model,
        revision=revision,
        dtype=str(pipeline.dtype).removeprefix("torch."),
        height=height or own_size(pipeline),
        width=width or own_size(pipeline),
        weights=fingerprint(pipeline) or None,
        changes=changes_of(pipeline) or None,
        versions={package: metadata.version(package) for package in PACKAGES},
    )


def differences(settings: Settings, pipeline: StableDiffusion) -> str:
    """Say what keeps a pipeline from making the very picture of these settings, "" if nothing.

    The model that the settings name is not loaded, nor is their scheduler's config used: both may
    come from a file that nobody vouches for.

    Raises:
        ValueError: the settings' scheduler cannot draw with the pipeline.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> differences(Settings("a knight", model="me/mine"), pipeline).split(":")[0]
        "It was made with 'me/mine', not 'tiny-portraits'"
    """
    (model, revision), changes = identify(pipeline), changes_of(pipeline)
    if settings.model != model:
        return (
            f"It was made with {settings.model!r}, not {model!r}: if you trust that model, "
            "load it with load_pipeline and start a playground with it."
        )
    if settings.revision != revision:
        return f"It was made with another commit of {model!r}: {settings.revision}, not {revision}."
    if settings.weights and (settings.changes or []) != changes:
        made, has = ("; ".join(one or ["none"]) for one in (settings.changes, changes))
        return f"It was made with changes to the model ({made}), and here are these: {has}."
    here = describe_settings(pipeline, "", scheduler=settings.scheduler)
    if settings.scheduler not in fitting_schedulers(pipeline):
        raise ValueError(
            f"{settings.scheduler!r} cannot draw with this model: choose one that the playground "
            "offers."
        )
    own = here.scheduler_config or {}
    config = settings.scheduler_config or own
    otherwise = {key: val for key, val in config.items() if own.get(key) != val}
    if otherwise:
        return (
            f"Its scheduler was set otherwise ({_shorten(otherwise)}): if you want that, set it "
            "with use_scheduler and start a playground with the pipeline."
        )
    if settings.dtype != here.dtype:
        return (
            f"It was made in {settings.dtype}, this pipeline draws in {here.dtype}: load it with "
            f"dtype={settings.dtype!r} for the same picture."
        )
    if settings.weights and settings.weights != here.weights:
        return (
            "It was made with other weights of this model, which were trained on or changed: load "
            "those for the same picture."
        )
    if settings.versions and settings.versions != here.versions:
        return f"It was made with {_shorten(settings.versions)}: the picture may differ a little."
    return ""


def to_code(settings: Settings, pipeline: StableDiffusion) -> str:
    """Write the lines of plain diffusers that make a picture again.

    Args:
        settings: what `describe_settings` returned for this pipeline.
        pipeline: the one that drew the picture.

    Returns:
        Code that leaves the picture in `image`. A model on this machine is named by its folder as
        seen from the working directory. Where diffusers alone cannot load it, a comment says so.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> code = to_code(describe_settings(pipeline, "a knight", seed=7), pipeline)
        >>> print(code.splitlines()[-2])
            generator=torch.Generator("cpu").manual_seed(7),
    """
    if not pipeline.name_or_path:
        return "# The pipeline was not loaded from anywhere that code could name.\n"
    if settings.model in MODELS and MODELS[settings.model].random_weights:
        where = f"device={pipeline.device.type!r}, dtype={settings.dtype!r}"
        return f"# Random weights: helpers.load_pipeline({settings.model!r}, {where}) draws them.\n"
    source = [_source(pipeline), f"dtype=torch.{settings.dtype}", "use_safetensors=True"]
    if settings.revision:
        source.append(f"revision={settings.revision!r}")
    changes = "".join(f", {key}={val!r}" for key, val in _changes(settings, pipeline).items())
    size = "" if settings.height is None else f"\n    height={settings.height},"
    size += "" if settings.width is None else f"\n    width={settings.width},"
    return f"""\
import torch
from diffusers import DiffusionPipeline, {settings.scheduler}

pipeline = DiffusionPipeline.from_pretrained(
    {", ".join(source)}
).to({str(pipeline.device)!r})
pipeline.scheduler = {settings.scheduler}.from_config(pipeline.scheduler.config{changes})
{_code_of_changes(pipeline)}image = pipeline(
    prompt={settings.prompt!r},
    negative_prompt={settings.negative_prompt!r},
    num_inference_steps={settings.num_inference_steps},
    guidance_scale={settings.guidance_scale},{size}
    generator=torch.Generator("cpu").manual_seed({settings.seed}),
).images[0]
"""


def notices(pipeline: StableDiffusion, settings: Settings) -> dict[str, str]:
    """Say what a reader should know of the settings before the picture is drawn.

    Returns:
        By the name of the setting, a sentence or more; only where there is something to say.

    Raises:
        ValueError: the scheduler does not fit the pipeline.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> notices(pipeline, describe_settings(pipeline, "a knight on a bicycle"))["prompt"]
        'No word of the model, so read in pieces: bicycle.'
    """
    found = {
        name: _notice_text(getattr(settings, name), pipeline)
        for name in ("prompt", "negative_prompt")
    }
    if settings.negative_prompt and settings.guidance_scale <= 1:
        found["guidance_scale"] = "Without guidance, above 1, the negative prompt is not read."
    found["scheduler"] = _notice_steps(settings, pipeline)
    return {name: sentence for name, sentence in found.items() if sentence}


def own_size(pipeline: Any) -> int | None:
    """The pixels of a side that a pipeline draws by itself; None where it does not say.

    Example:
        >>> from helpers import load_pipeline
        >>> own_size(load_pipeline("tiny-portraits", device="cpu"))
        128
    """
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    side = getattr(getattr(network, "config", None), "sample_size", None)
    return side * pipeline.vae_scale_factor if isinstance(side, int) else None


def fitting_schedulers(pipeline: Pipeline) -> list[str]:
    """Return the names of the schedulers that can draw with a pipeline.

    Of its compatibles, those that take the betas that the model was trained with. One whose
    library is not installed takes nothing.

    Example:
        >>> from helpers import load_pipeline
        >>> fitting_schedulers(load_pipeline("tiny-portraits", device="cpu"))[:2]
        ['DDIMScheduler', 'DDPMScheduler']
    """
    needed = {"beta_start", "beta_end"} & set(pipeline.scheduler.config)
    return sorted(
        {
            kind.__name__
            for kind in (*pipeline.scheduler.compatibles, type(pipeline.scheduler))
            if needed <= set(inspect.signature(kind.__init__).parameters)
        }
    )


def _notice_text(text: str, pipeline: StableDiffusion) -> str:
    sentences = []
    if cut := cut_words(text, pipeline):
        sentences.append(f"Too long: cut at 77 tokens, so not read: {cut}.")
    if unknown := unknown_words(text, pipeline):
        sentences.append(f"No word of the model, so read in pieces: {', '.join(unknown)}.")
    return " ".join(sentences)


def _notice_steps(settings: Settings, pipeline: StableDiffusion) -> str:
    """Say so if the scheduler would ask for a noise level that the model was not trained with."""
    scheduler = use_scheduler(copy.copy(pipeline), settings.scheduler).scheduler
    levels = scheduler.config.get("num_train_timesteps", 1000)
    try:
        scheduler.set_timesteps(settings.num_inference_steps)
        fits = float(scheduler.timesteps.max()) < levels
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return ""  # it wants to know more than their number, or will say itself what is wrong
    advice = f"The model knows {levels} levels of noise"
    return (
        "" if fits else f"{advice}, too few for {settings.num_inference_steps} steps: take fewer."
    )


def _source(pipeline: StableDiffusion) -> str:
    """Return what `from_pretrained` takes to load the pipeline's model, as code."""
    model, revision = identify(pipeline)
    if revision or not os.path.isdir(str(pipeline.name_or_path)):
        return repr(model)
    return repr(os.path.relpath(pipeline.name_or_path).replace(os.sep, "/"))


def _changes(settings: Settings, pipeline: StableDiffusion) -> dict[str, Any]:
    """Return what differs from the config that the scheduler would make of the checkpoint's."""
    kind = type(use_scheduler(copy.copy(pipeline), settings.scheduler).scheduler)
    checkpoint = kind.load_config(pipeline.name_or_path, subfolder="scheduler")
    usual = kind.from_config(checkpoint).config
    config = settings.scheduler_config or {}
    return {key: val for key, val in config.items() if key in usual and usual[key] != val}


def _code_of_changes(pipeline: StableDiffusion) -> str:
    """The lines that make a pipeline's changes again, or a comment that says which they cannot."""
    code, open_ones = "", []
    for change in changes_of(pipeline):
        part, _, what = change.partition(": ")
        folder = MODELS_FOLDER / what.removeprefix("LoRA ").replace("_", "-")
        place = repr(os.path.relpath(folder).replace(os.sep, "/"))
        if part == "vae" and folder.is_dir():
            kind = type(pipeline.vae).__name__
            code += f"from diffusers import {kind}\n"
            load = f"{kind}.from_pretrained({place}, dtype=pipeline.vae.dtype)"
            code += f"pipeline.vae = {load}.to(pipeline.device)\n"
        elif part == "unet" and what.startswith("LoRA ") and folder.is_dir():
            code += f"pipeline.load_lora_weights({place})\npipeline.fuse_lora()\n"
        else:
            open_ones.append(change)
    if is_as_loaded(pipeline) is False and not changes_of(pipeline):
        open_ones.append("its weights")
    if open_ones:
        code += f"# Changed before it drew, in a way that no code knows: {', '.join(open_ones)}.\n"
    return code


def _shorten(values: Mapping[str, object]) -> str:
    text = ", ".join(f"{name}: {value}" for name, value in values.items())
    return text if len(text) <= 100 else f"{text[:100]} ..."
