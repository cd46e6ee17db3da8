"""A pipeline of a model's exact shape: from its configs alone, with no weights or random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from helpers.models import MODELS_FOLDER

if TYPE_CHECKING:
    from helpers.pipelines import StableDiffusion


# What can be built from configs alone: the classes of diffusers, and their text encoders' classes.
PIPELINES = {
    "StableDiffusionPipeline": {"text_encoder": "CLIPTextModel"},
    "StableDiffusionXLPipeline": {
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
    },
}


def empty_pipeline(
    folder: Path, dtype: torch.dtype, safety_checker: bool = False
) -> StableDiffusion:
    """Build a pipeline of Stable Diffusion 1.x or XL from its configs alone, without any weights.

    Args:
        folder: in diffusers' layout; the tokenizer is the embedded model's, to give it some words.
        dtype: what the weights are declared to be.
        safety_checker: whether to build the one whose config lies beside the others.

    Returns:
        The pipeline, its parameters on the meta device, where they take no memory.

    Source: accelerate, `init_empty_weights`; transformers, `no_init_weights`.

    Example:
        >>> pipeline = empty_pipeline(MODELS_FOLDER / "sd15-shape", torch.float16)
        >>> f"{pipeline.unet.num_parameters() / 1e6:.1f} million", pipeline.unet.device
        ('859.5 million', device(type='meta'))
    """
    import diffusers
    import transformers
    from accelerate import init_empty_weights
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers.initialization import no_init_weights

    name = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    parts: dict[str, Any] = {}
    with init_empty_weights(), no_init_weights():  # what has no contents need not be drawn
        for part, encoder in PIPELINES[name].items():
            config = transformers.CLIPTextConfig.from_pretrained(folder, subfolder=part)
            parts[part] = getattr(transformers, encoder)(config)
        for part in ("unet", "vae"):
            config = diffusers.UNet2DConditionModel.load_config(folder, subfolder=part)
            parts[part] = getattr(diffusers, config["_class_name"]).from_config(config)
        if safety_checker:
            config = transformers.CLIPConfig.from_pretrained(folder, subfolder="safety_checker")
            parts["safety_checker"] = StableDiffusionSafetyChecker(config)
    for part in parts.values():
        # diffusers' own `to` gives notice of layers to keep in float32, of which these have none.
        torch.nn.Module.to(part.eval().requires_grad_(False), dtype)
    words = transformers.CLIPTokenizer.from_pretrained(MODELS_FOLDER / "tiny-portraits/tokenizer")
    parts |= {part.replace("text_encoder", "tokenizer"): words for part in PIPELINES[name]}
    if name == "StableDiffusionPipeline":
        parts = {"safety_checker": None, "requires_safety_checker": False} | parts
        parts["feature_extractor"] = transformers.CLIPImageProcessor() if safety_checker else None
    settings = json.loads((folder / "scheduler/scheduler_config.json").read_text(encoding="utf-8"))
    scheduler = getattr(diffusers, settings["_class_name"]).from_config(settings)
    return getattr(diffusers, name)(**parts, scheduler=scheduler)


def fill_with_random_weights(
    pipeline: StableDiffusion, device: str | torch.device
) -> StableDiffusion:
    """Give an empty pipeline random weights, each made where and in the dtype it will be used.

    A matrix or kernel is uniform within 1 / sqrt(inputs), which keeps what flows through the model
    far below float16's limit; norms start as the identity. The seed is fixed: the same device gives
    the same weights.

    Args:
        pipeline: what `empty_pipeline` returns; changed in place.
        device: where the weights are to be.

    Returns:
        The same pipeline, on the device.

    Source: He et al. 2015, as `torch.nn.Linear` and `torch.nn.Conv2d` use it.

    Example:
        >>> folder = MODELS_FOLDER / "tiny-portraits"
        >>> pipeline = fill_with_random_weights(empty_pipeline(folder, torch.bfloat16), "cpu")
        >>> pipeline.unet.dtype, pipeline.unet.device
        (torch.bfloat16, device(type='cpu'))
    """
    generator = torch.Generator(device).manual_seed(0)
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    for part in parts:
        for module in part.modules():
            for name, empty in module.named_parameters(recurse=False):
                weight = torch.empty_like(empty, device=device)
                if weight.ndim > 1:
                    bound = weight[0].numel() ** -0.5
                    weight.uniform_(-bound, bound, generator=generator)
                else:
                    weight.fill_(name == "weight")  # of a norm; a bias is 0
                setattr(module, name, torch.nn.Parameter(weight, requires_grad=False))
    return pipeline.to(device)
