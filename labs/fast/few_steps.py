"""Weights with which a few steps are enough, merged into a pipeline's own."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.hub import find_weights

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def use_few_steps(pipeline: DiffusionPipeline, lora: str | Path) -> DiffusionPipeline:
    """Add weights of consistency distillation, so that one to eight steps are enough.

    Draw with `guidance_scale=1` from then on: the weights hold the guidance.

    Args:
        pipeline: changed in place, and only if all goes well: the UNet by the LoRA weights, which
            are merged into its own once, beside others that it has, and the scheduler, which
            becomes `LCMScheduler`.
        lora: what `MODELS[name].few_steps` says, an id on the Hub, a local folder or a file.

    Returns:
        The same pipeline.

    Raises:
        ValueError: the weights are unknown, only in pickle files, or made for another model.
        ConnectionError: the Hub is out of reach.

    Source: Luo et al. 2023, arXiv:2311.05556; diffusers, `load_lora_into_unet`.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> pipeline = use_few_steps(pipeline, "tiny-portraits-lcm")
        >>> pipeline("a knight", num_inference_steps=4, guidance_scale=1).images[0].size
        (128, 128)
    """
    from diffusers import LCMScheduler

    name = re.sub(r"\W", "_", Path(lora).stem)  # a name of an adapter has no dots
    if name not in getattr(pipeline.unet, "peft_config", {}):
        _merge(pipeline, find_weights(lora, "use_few_steps(pipeline, 'tiny-portraits-lcm')"), name)
    known = inspect.signature(LCMScheduler.__init__).parameters
    config = {key: value for key, value in pipeline.scheduler.config.items() if key in known}
    pipeline.scheduler = LCMScheduler.from_config(config)
    return pipeline


def _merge(pipeline: DiffusionPipeline, weights: Path, name: str) -> None:
    """Merge LoRA weights into the UNet's, beside those that it has; or leave all as it was."""
    before = list(getattr(pipeline.unet, "peft_config", ()))
    options = {"weight_name": weights.name} if weights.is_file() else {}
    folder = weights.parent if weights.is_file() else weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of a second set of weights: it is meant
        try:
            state, alphas = pipeline.lora_state_dict(
                folder, unet_config=pipeline.unet.config, **options
            )
            pipeline.load_lora_into_unet(state, alphas, unet=pipeline.unet, adapter_name=name)
            pipeline.unet.set_adapters([*before, name])
            pipeline.fuse_lora(components=["unet"], adapter_names=[*before, name])
        except (RuntimeError, ValueError) as error:
            if before:
                pipeline.unet.delete_adapters(name)
                pipeline.unet.set_adapters(before)
            else:
                pipeline.unload_lora_weights()
            raise ValueError(
                f"The weights of {weights.stem!r} do not fit this UNet: use those that were made "
                "for the same model."
            ) from error
