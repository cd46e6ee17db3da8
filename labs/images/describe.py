"""Describe a pipeline by settings, compare it with those of a file, and write them as code."""

from __future__ import annotations

import copy
import hashlib
import os
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from helpers import MODELS, use_scheduler
from helpers.hub import variant_of
from helpers.models import MODELS_FOLDER
from labs.images.generate import call_arguments, default_size
from labs.images.settings import NAME, Settings

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

SAMPLES = 8  # numbers that are read of each tensor: enough to tell trainings apart, and quick
# What may keep a pipeline from making an image again, and what to do about it.
ADVICE = {
    "model": "If you trust that model, load it with load_pipeline and start a playground with it",
    "revision": "Load that commit of the model",
    "pipeline": "Build that kind of pipeline",
    "loras": "Load those LoRA weights, or none, at that strength",
    "dtype": "Load the model with that dtype",
    "weights": "Load the weights that the image was made with",
}


def describe_settings(
    pipeline: DiffusionPipeline, prompt: str = "", negative_prompt: str = "", **choices: Any
) -> Settings:
    """Complete what a reader chooses to settings, with the model, its weights and its size.

    Other changes of a pipeline, such as FreeU, hooks or a scheduler's options, are not recorded.

    Args:
        choices: fields of `Settings` that the pipeline does not decide, such as the seed; what is
            left out or None has its default.

    Raises:
        ValueError: a setting is out of range, or the scheduler or a LoRA's strengths do not fit.
    """
    chosen = {name: value for name, value in choices.items() if value is not None}
    scheduler = chosen.pop("scheduler", type(pipeline.scheduler).__name__)
    use_scheduler(copy.copy(pipeline), scheduler)
    model, revision = identify(pipeline)
    loras = lora_strengths(pipeline)
    return Settings(
        prompt,
        negative_prompt,
        scheduler=scheduler,
        model=model,
        revision=revision,
        pipeline=type(pipeline).__name__,
        dtype=str(pipeline.dtype).removeprefix("torch."),
        weights=fingerprint(pipeline, loras),
        loras=loras,
        **{"height": default_size(pipeline), "width": default_size(pipeline), **chosen},
    )


def differences(settings: Settings, pipeline: DiffusionPipeline) -> str:
    """Say what keeps a pipeline from making the image of these settings again, "" if nothing."""
    try:
        here = describe_settings(pipeline, scheduler=settings.scheduler)
    except ValueError as error:  # the scheduler does not fit, for one
        return str(error)
    for name, advice in ADVICE.items():
        made, now = getattr(settings, name), getattr(here, name)
        if made != now and made not in (None, "") and now not in (None, ""):
            return f"It was made with {name} {made!r}, not {now!r}. {advice}."
    return ""


def to_code(settings: Settings, pipeline: DiffusionPipeline) -> str:
    """Write the lines of plain Diffusers that make an image again, and leave it in `image`.

    A model on this machine is named by its folder, relative to the working directory.

    Args:
        settings: what `describe_settings` returned for this pipeline.
    """
    if not pipeline.name_or_path:
        return "# The pipeline was not loaded from a folder or the Hub, so code cannot name it.\n"
    if settings.model in MODELS and MODELS[settings.model].random_weights:
        options = f"device={pipeline.device.type!r}, dtype={settings.dtype!r}"
        return f"# Random weights: load them with load_pipeline({settings.model!r}, {options}).\n"
    source, options = settings.model, ""
    if not settings.revision and os.path.exists(pipeline.name_or_path):
        source = str(pipeline.name_or_path)
        if variant := variant_of(Path(source)):
            options = f"\n    variant={variant!r},"
        with suppress(ValueError):  # on Windows, a path on another drive
            source = os.path.relpath(source)
    elif settings.revision:
        options = f"\n    revision={settings.revision!r},"
    loras = f"# Load LoRA weights here: {settings.loras}.\n" if settings.loras else ""
    folders = {
        part: Path(str(getattr(getattr(network, "config", None), "_name_or_path", ""))).parent
        for part, network in _networks(pipeline).items()
    }
    own, count = Path(str(pipeline.name_or_path)), Counter(folders.values())
    usual = own if own in count else max(count, key=lambda folder: count[folder], default=own)
    replaced = [part for part, folder in folders.items() if folder != usual]
    parts = f"# Replace {' and '.join(replaced)} here, as in that pipeline.\n" if replaced else ""
    few_steps = getattr(getattr(pipeline, "unet", None), "few_steps", None)
    merged = f"# Call use_few_steps(pipeline, {few_steps!r}) here.\n" if few_steps else ""
    size, negative = f"height={settings.height}, width={settings.width}", ""
    if settings.negative_prompt and "negative_prompt" in call_arguments(pipeline):
        negative = f"\n    negative_prompt={settings.negative_prompt!r},"
    return f"""\
import torch
from diffusers import {settings.pipeline}, {settings.scheduler}

pipeline = {settings.pipeline}.from_pretrained(
    {source.replace(os.sep, "/")!r},{options}
    dtype=torch.{settings.dtype},
    use_safetensors=True,
).to({str(pipeline.device)!r})
{parts}{merged}pipeline.scheduler = {settings.scheduler}.from_config(pipeline.scheduler.config)
{loras}image = pipeline(
    prompt={settings.prompt!r},{negative}
    num_inference_steps={settings.num_inference_steps},
    guidance_scale={settings.guidance_scale},
    {size},
    generator=torch.Generator("cpu").manual_seed({settings.seed}),
).images[0]
"""


def identify(pipeline: DiffusionPipeline) -> tuple[str, str | None]:
    """Return which model a pipeline was loaded from, and its commit on the Hub if it has one.

    Returns:
        A name of `MODELS`, an id on the Hub ("owner/name"), or a folder's name without its path;
        the class's name if it was not loaded from anywhere.

    Source: huggingface_hub, the layout of its cache: models--owner--name/snapshots/commit.
    """
    source = str(pipeline.name_or_path or type(pipeline).__name__)
    folder = Path(source)
    for model in MODELS.values():
        if folder == MODELS_FOLDER / model.id:
            return model.name, None
    cached = folder.parent.parent.name.split("--")
    if folder.parent.name == "snapshots" and cached[0] == "models" and len(cached) == 3:
        return f"{cached[1]}/{cached[2]}", folder.name
    if not folder.exists() and re.fullmatch(f"{NAME}(/{NAME})?", source):
        return source, None
    return re.sub(r"[^\w.-]|^[.-]", "_", folder.resolve().name, flags=re.ASCII)[:100], None


def fingerprint(pipeline: DiffusionPipeline, loras: dict[str, float]) -> str | None:
    """Return twelve hexadecimal digits that differ when the weights of two pipelines do.

    A few numbers of every tensor are read, in float16, so that the same weights in float16 and in
    float32 have one fingerprint. Of LoRA weights, those of these names count.

    Returns:
        None for a pipeline without weights, or with weights that are kept elsewhere, as
        `enable_sequential_cpu_offload` does.
    """
    tensors = [
        (f"{part} {name.replace('.base_layer', '')}", tensor.detach().flatten())
        for part, network in sorted(_networks(pipeline).items())
        for name, tensor in network.named_parameters()
        if ".lora_" not in name or any(f".{lora}." in name for lora in loras)
    ]
    if not tensors or any(tensor.is_meta for _, tensor in tensors):
        return None
    digest = hashlib.sha256()
    for name, tensor in tensors:
        values = tensor[:: max(1, len(tensor) // SAMPLES)][:SAMPLES]
        digest.update(name.encode() + values.to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()[:12]


def lora_strengths(pipeline: DiffusionPipeline) -> dict[str, float]:
    """Return the strength of each active LoRA, by its adapter's name; refuse one with several."""
    strengths: dict[str, set[float]] = {}
    for network in _networks(pipeline).values():
        layers: list[Any] = [layer for layer in network.modules() if hasattr(layer, "lora_A")]
        for layer in layers:
            for name in () if layer.disable_adapters else layer.active_adapters:
                if name in layer.scaling:
                    scale, rank = layer.lora_alpha[name], layer.r[name]
                    scale /= rank**0.5 if layer.use_rslora.get(name) else rank
                    strength = layer.scaling[name] / scale if scale else 1.0
                    strengths.setdefault(name, set()).add(round(strength, 4))
    if several := [name for name, values in strengths.items() if len(values) > 1]:
        raise ValueError(f"LoRA {several[0]!r} has several strengths: set one with set_adapters.")
    return {name: values.pop() for name, values in strengths.items()}


def _networks(pipeline: Any) -> dict[str, Any]:
    """The parts that take part in generating; the safety checker only judges."""
    return {
        name: getattr(part, "_orig_mod", part)  # what torch.compile wraps
        for name, part in getattr(pipeline, "components", {}).items()
        if isinstance(part, torch.nn.Module) and name != "safety_checker"
    }
