"""Merge LoRA weights of consistency distillation into a pipeline, so that few steps are enough."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from labs.images.loras import use_lora

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


def use_few_steps(pipeline: StableDiffusionPipeline, lora: str | Path) -> StableDiffusionPipeline:
    """Merge distilled LoRA weights into a pipeline and take `LCMScheduler`, for 1 to 8 steps.

    In Diffusers these are `load_lora_weights`, `fuse_lora`, `unload_lora_weights` and
    `LCMScheduler.from_config`. Here weights that do not fit are refused, where Diffusers only logs
    a warning. Generate with `guidance_scale=1`: the weights were distilled with guidance.

    Args:
        pipeline: changed in place and returned, unless this fails. It must have no other LoRA
            weights yet.
        lora: `MODELS[name].few_steps`, a repository on the Hub, a folder or a safetensors file.

    Raises:
        ValueError: the pipeline has no UNet, or LoRA weights already; or the weights are unknown,
            only in pickle files, or made for another model.
        FileNotFoundError: there is no such folder or file.
        ConnectionError: the Hub cannot be reached.

    Source: Luo et al. 2023, arXiv:2311.05556.
    """
    from diffusers import LCMScheduler

    if getattr(pipeline, "unet", None) is None:
        raise ValueError(f"{type(pipeline).__name__} has no UNet: use Stable Diffusion 1.x or XL.")
    if pipeline.get_list_adapters() or hasattr(pipeline.unet, "few_steps"):
        raise ValueError(
            "The pipeline has LoRA weights already: load it again, then call use_few_steps first."
        )
    try:
        use_lora(pipeline, lora)
        pipeline.fuse_lora()
    finally:
        pipeline.unload_lora_weights()  # merged, if all went well
    pipeline.unet.few_steps = str(lora)  # a merge outlasts unload_lora_weights
    settings = inspect.signature(LCMScheduler.__init__).parameters  # it warns of any others
    config = {name: value for name, value in pipeline.scheduler.config.items() if name in settings}
    pipeline.scheduler = LCMScheduler.from_config(config)
    return pipeline
